"""Two jobs that want to train one run: one trains, the other waits, leaves or takes over; never both."""

import json
import signal
import time

import pytest

from tests.jobs import aftermath, made_up
from tests.jobs.ranks import Ranks, train
from vdt_hpc.lease import numbered
from vdt_hpc.lease.lease import read_holder
from vdt_hpc.store import checkpoint

CHANGES = {
    "train__total_clips": 600, "train__checkpoint_every_clips": 60, "train__keep_checkpoints": 20,
    "train__val_every_clips": 300,
}  # fmt: skip
RUN = made_up.config(**CHANGES)
WAITS = "waiting until it ends or shows no sign of life"
TIMEOUT_S = 2.0


def start(root, hook="", timeout_s=TIMEOUT_S, **options):
    before = f"tests.jobs.hooks:{hook}" if hook else ""
    return Ranks(root, CHANGES, 2, before=before, lease_timeout_s=timeout_s, **options)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The run that was alone."""
    root = tmp_path_factory.mktemp("reference")
    paths = made_up.write_latents(RUN, made_up.partition(root))
    train(root, CHANGES, 2)
    return paths


@pytest.fixture
def paths(tmp_path):
    return made_up.write_latents(RUN, made_up.partition(tmp_path))


def paused(paths, hook, **options):
    """A job that holds the lease, and has paused where the hook says."""
    job = start(paths.root, hook, **options)
    wait_until_paused(job, hook)
    assert read_holder(paths.lease).pid == job.processes[0].pid
    return job


def wait_until_paused(job, hook):
    job.wait_for(lambda: (job.folder / f"0.{hook}").exists())


def waiting(root, **options):
    job = start(root, **options)
    job.wait_for(lambda: WAITS in job.said())
    return job


def go(job):
    (job.folder / "go").touch()


def trained(job):
    """The job's ranks have all trained to the end; returns what rank 0 says."""
    outcomes = job.outcomes()
    assert all(outcome and outcome.get("complete") for outcome in outcomes), (outcomes, job.said())
    return outcomes[0]["summary"]


def seconds_until_taken(paths, job):
    started = time.monotonic()
    job.wait_for(lambda: (holder := read_holder(paths.lease)) and holder.pid == job.processes[0].pid)
    return time.monotonic() - started


def test_of_two_jobs_one_trains_and_the_other_finds_it_done(tmp_path, paths, reference):
    jobs = [start(tmp_path), start(tmp_path)]
    summaries = sorted(trained(job) for job in jobs)
    assert summaries[0] == "already trained: 600 clips"
    assert summaries[1].startswith("trained 600 clips")
    assert sum(WAITS in job.said() for job in jobs) == 1
    assert aftermath.positions(paths, "start") == [0]
    aftermath.assert_same_run(paths, reference)
    aftermath.assert_tidy(paths)


def test_a_killed_job_is_succeeded_before_its_silence_counts(paths, reference):
    owner = paused(paths, "at_240", timeout_s=8.0)
    rival = waiting(paths.root, timeout_s=8.0)
    owner.kill(signal.SIGKILL)
    assert seconds_until_taken(paths, rival) < 6.0
    trained(rival)
    assert f"being trained by process {owner.processes[0].pid} on this machine" in rival.said()
    assert aftermath.positions(paths, "start") == [0, 240]
    aftermath.assert_same_run(paths, reference)
    aftermath.assert_tidy(paths)


def test_a_killed_job_of_another_machine_is_succeeded_after_its_silence(paths, reference):
    owner = paused(paths, "at_240")
    entry = numbered.read_highest(paths.lease)
    path = numbered.path_of(paths.lease, entry.number)
    path.write_text(json.dumps({"released": False, **entry.owner.to_json(), "boot_id": "another", "host": "node7"}))
    rival = waiting(paths.root)
    owner.kill(signal.SIGKILL)
    assert seconds_until_taken(paths, rival) > TIMEOUT_S - TIMEOUT_S / 8 - 0.1
    trained(rival)
    assert f"being trained by process {owner.processes[0].pid} of host node7" in rival.said()
    assert aftermath.positions(paths, "start") == [0, 240]
    aftermath.assert_same_run(paths, reference)
    aftermath.assert_tidy(paths)


def snapshot(paths):
    """The log's bytes and file, and the checkpoints with theirs."""
    log = (paths.progress_log.read_bytes(), paths.progress_log.stat().st_ino)
    return log, {path.name: (path / "checkpoint.json").stat().st_ino for path in checkpoint.folders(paths.checkpoints)}


@pytest.mark.parametrize(("moment", "resumed_at"), [("at_240", [240]), ("publishing", [180]), ("logging", [])])
def test_a_job_that_wakes_up_when_another_has_taken_over_does_no_harm(paths, reference, moment, resumed_at):
    owner = paused(paths, moment)
    owner.kill(signal.SIGSTOP)
    rival = start(paths.root, "at_480")
    assert seconds_until_taken(paths, rival) > TIMEOUT_S - TIMEOUT_S / 8 - 0.1
    wait_until_paused(rival, "at_480")
    before = snapshot(paths)
    assert checkpoint.folder_name(240) in before[1]
    go(owner)
    owner.kill(signal.SIGCONT)
    for outcome in owner.outcomes(30):
        assert "error" in outcome, outcome
        assert "another job has taken over the run tiny" in outcome["error"] or (
            f"now belongs to process {rival.processes[0].pid} on this machine" in outcome["error"]
        )
    assert snapshot(paths) == before
    go(rival)
    trained(rival)
    assert aftermath.positions(paths, "start") == [0, *resumed_at]
    aftermath.assert_same_run(paths, reference)
    aftermath.assert_tidy(paths)


def test_on_slurm_the_second_job_leaves(paths):
    owner = paused(paths, "at_240")
    rival = start(paths.root, executor="slurm", cpus_per_task=1)
    said = f"this run is being trained by process {owner.processes[0].pid} on this machine; this job leaves it alone"
    assert rival.outcomes(30) == [{"error": said}] * 2
    assert read_holder(paths.lease).pid == owner.processes[0].pid
    go(owner)
    trained(owner)
    assert aftermath.positions(paths, "start") == [0]
