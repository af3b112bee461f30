"""Whether an owner is gone: by the process table, by Slurm's queue, or nobody can tell."""

import dataclasses
import os
from pathlib import Path

import pytest

from vdt_hpc import slurm
from vdt_hpc.lease import watch
from vdt_hpc.lease.numbered import Entry
from vdt_hpc.lease.owner import UNKNOWN, Owner
from vdt_hpc.lease.watch import Watch


@pytest.fixture
def mine():
    return Owner.this_process("a100")


@pytest.fixture
def job(mine, monkeypatch):
    """The owner that ran as job 12 on another node, seen from job 99 of the same cluster."""
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "blue")
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    return dataclasses.replace(mine, host="gpu1", boot_id="another boot", cluster="blue", job_id="12")


@pytest.fixture
def answer(tmp_path, monkeypatch):
    """Put a stand-in `squeue` on PATH; returns the file that lists how it was called."""
    log = tmp_path / "asked"
    log.touch()

    def put(script):
        program = tmp_path / "bin" / "squeue"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "$@ [$SQUEUE_STATES]" >> {log}\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        return log

    return put


def test_a_description_survives_json(mine):
    assert Owner.from_json(mine.to_json()) == mine
    assert (mine.pid, mine.uid, mine.partition) == (os.getpid(), os.getuid(), "a100")


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Owner)])
def test_a_field_missing_or_of_another_type_makes_it_unknown(mine, field):
    content = mine.to_json()
    assert Owner.from_json({**content, field: None}) is UNKNOWN
    del content[field]
    assert Owner.from_json(content) is UNKNOWN
    assert UNKNOWN.is_gone() is None


def test_a_living_process_is_not_gone(mine):
    assert mine.is_gone() is None


def test_a_number_that_another_process_has_now_is_gone(mine):
    assert dataclasses.replace(mine, pid_start=mine.pid_start - 1).is_gone() is True


def test_the_name_of_a_program_may_hold_anything(mine):
    comm = Path("/proc/self/comm")
    before = comm.read_text()
    try:
        comm.write_text("a) Z 1 (b")
        assert Owner.this_process("a100").pid_start == mine.pid_start
        assert mine.is_gone() is None
    finally:
        comm.write_text(before)


@pytest.mark.parametrize(
    "elsewhere", [{"host": "other"}, {"boot_id": "other"}, {"pid_namespace": "other"}, {"uid": os.getuid() + 1}]
)
def test_a_process_that_cannot_be_looked_up_may_live(mine, elsewhere):
    dead = dataclasses.replace(mine, pid_start=mine.pid_start - 1)
    assert dead.is_gone() is True
    assert dataclasses.replace(dead, **elsewhere).is_gone() is None


@pytest.mark.parametrize("state", sorted(slurm.ENDED | slurm.WAITING))
def test_a_job_that_is_over_or_waits_again_is_gone(job, answer, state):
    answer(f"echo {state}")
    assert job.is_gone() is True


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "NEW?"])
def test_a_job_that_may_run_is_not_gone(job, answer, state):
    answer(f"echo {state}")
    assert job.is_gone() is None


def test_one_running_job_of_an_array_is_enough(job, answer):
    answer("echo COMPLETED; echo RUNNING")
    assert job.is_gone() is None


@pytest.mark.parametrize(
    ("script", "gone"),
    [
        ("true", True),
        ("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", True),
        ("echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1", None),
        ("exit 1", None),
        ("echo COMPLETED; exit 1", None),
    ],
)
def test_a_job_that_is_not_listed_is_gone_but_a_failure_says_nothing(job, answer, script, gone):
    answer(script)
    assert job.is_gone() is gone


def test_no_squeue_says_nothing(job, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert job.is_gone() is None


def test_a_squeue_that_hangs_says_nothing(job, answer, monkeypatch):
    monkeypatch.setattr(slurm, "ANSWER_TIMEOUT_S", 0.2)
    answer("exec sleep 60")
    assert job.is_gone() is None


def test_the_users_display_filters_are_left_out(job, answer, monkeypatch):
    monkeypatch.setenv("SQUEUE_STATES", "PENDING")
    log = answer("echo RUNNING")
    assert job.is_gone() is None
    assert log.read_text() == "--noheader --all -j 12 -o %T []\n"


@pytest.mark.parametrize(("restarts", "gone"), [("1", True), ("0", None)])
def test_an_earlier_incarnation_of_this_very_job_is_gone(job, answer, monkeypatch, restarts, gone):
    answer("echo RUNNING")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    assert job.is_gone() is gone


@pytest.mark.parametrize("cluster", ["green", None])
def test_a_job_of_another_cluster_is_not_asked_for(job, answer, monkeypatch, cluster):
    log = answer("true")
    monkeypatch.delenv("SLURM_CLUSTER_NAME")
    if cluster:
        monkeypatch.setenv("SLURM_CLUSTER_NAME", cluster)
    assert job.is_gone() is None
    assert log.read_text() == ""


def test_messages(mine, job):
    assert job.describe() == "job 12 on a100 (node gpu1)"
    assert mine.describe() == f"process {os.getpid()} on this machine"
    assert dataclasses.replace(mine, host="x").describe() == f"process {os.getpid()} of host x"


def test_the_queue_is_asked_at_first_sight_and_then_seldom(lease, job, answer, tmp_path):
    log = answer("echo RUNNING")
    folder = tmp_path / "lease"
    folder.mkdir()
    lost = lease(**dataclasses.asdict(job))
    assert lost.try_acquire()
    observer = lease(timeout_s=600)
    assert not any(observer.try_acquire() for _ in range(20))
    assert len(log.read_text().splitlines()) == 1
    answer("true")
    assert lease().try_acquire(), "another observer asks anew"


def test_an_observer_that_slept_looks_again_before_it_judges(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(watch, "clock_s", lambda: now_s[0])
    observer, entry = Watch(timeout_s=60), Entry(1, UNKNOWN, released=False, touched_ns=5)
    verdicts = []
    for _ in range(6):
        verdicts.append(observer.judge(entry))
        now_s[0] += 3600
    assert verdicts == [False, False, False, False, True, True]
    assert not observer.judge(dataclasses.replace(entry, touched_ns=4)), "any change is a sign of life"
    assert observer.silent_s == 0
