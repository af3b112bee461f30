"""Preflight and `--partition auto` on real Slurm: limits, refusals, a full partition, another site, another user."""

import multiprocessing
import os
import pwd

import pytest

from tests.slurm.daemons import wait_until
from vdt_hpc.commandline import load_partition, load_run
from vdt_hpc.commands import choice, preflight
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import paths_for


class Launcher:
    """What the launcher does before it submits, for the mission's run, on one cluster."""

    def __init__(self, cluster, root, monkeypatch):
        self.cluster, self.config = cluster, load_run("cityscapes")
        self.profiles = [load_partition(name) for name in ("a100", "a40")]
        self.paths = paths_for(self.config, self.profiles[0].model_copy(update={"root": str(root)}))
        for name, value in cluster.env().items():
            monkeypatch.setenv(name, value)

    def choose(self, *stages):
        return choice.choose(self.profiles, stages or ["train"], self.config, self.paths)

    def look(self, profile, **changes):
        """Findings about the queue and about the shared folder."""
        profiles = [load_partition(profile).model_copy(update=changes)]
        found = {each.subject: each for each in preflight.check(["train"], self.config, profiles, self.paths)}
        assert not self.cluster.run("squeue", "-h").stdout.strip()
        return found[f"{profile}: queue"], found["shared"]


@pytest.fixture
def launcher(cluster, tmp_path, monkeypatch):
    return Launcher(cluster, tmp_path / "runs", monkeypatch)


def test_both_idle_the_faster_by_peak(launcher):
    chosen = launcher.choose()
    assert chosen.partition.name == "a100"
    assert [option.wait_s < 60 for option in chosen.options] == [True, True]
    assert "chosen: a100, which ends first: in " in chosen.explanation
    assert launcher.choose("encode").partition.name == "a100"


def test_the_faster_is_full(launcher):
    cluster = launcher.cluster
    job = cluster.submit("sleep 600", "--partition=a100", "--gres=gpu:a100:5", "--time=1-0")
    cluster.wait_for_state(job, "RUNNING")
    chosen = launcher.choose()
    assert chosen.partition.name == "a40"
    assert 23 < chosen.options[0].wait_s / 3600 <= 24
    assert "starts first" in launcher.choose("encode").explanation
    assert chosen.explanation.splitlines()[-1].endswith("that one is faster, but starts in 24 h")
    assert cluster.run("squeue", "-h", "-o", "%i").stdout.split() == [job]


def test_what_slurm_would_take_and_never_start(launcher):
    queue, shared = launcher.look("a40", timeout_min=721)
    assert queue.level == "fault"
    assert "timeout_min 721 of profile a40 is above the limit of the partition a40, 720 min" in queue.message
    assert shared.level == "warning"  # /tmp
    assert launcher.look("a40", timeout_min=720)[0].level == "ok"


@pytest.mark.parametrize(
    "changes", [{"num_nodes": 3}, {"mem_gb": 9999.0}, {"gres": "gpu:h100:5"}, {"constraint": "no"}]
)
def test_a_refusal_in_slurms_own_words(launcher, changes):
    queue, _ = launcher.look("a100", **changes)
    assert queue.level == "fault"
    own_words = queue.message.removeprefix("Slurm does not take a job of profile a100: ")
    assert own_words != queue.message
    assert len(own_words) > 10


def test_nodes_that_are_out_of_service(launcher):
    launcher.cluster.drain("gpu-a100")
    try:
        queue, _ = launcher.look("a100")
        assert queue.level == "warning"
        assert "1 node(s) of a100 are out of service" in queue.message
        assert launcher.choose().partition.name == "a40"
    finally:
        launcher.cluster.resume("gpu-a100")


def test_another_site_has_other_partitions(second_cluster, tmp_path, monkeypatch):
    launcher = Launcher(second_cluster, tmp_path, monkeypatch)
    queue, _ = launcher.look("a100")
    assert queue.level == "fault"
    assert "this cluster (elsewhere) has no partition a100" in queue.message
    assert "it has gpu-long (at most 7 d), gpu-short (at most 2 h); set slurm_partition" in queue.message
    assert launcher.look("a100", slurm_partition="gpu-long")[0].level == "ok"
    with pytest.raises(UserError, match=r"no profile is possible: a100: this cluster \(elsewhere\) has .*; a40: this"):
        launcher.choose()


def as_user(user, deed):
    """What a deed returns in a process of another user; it needs no interpreter that this user may start."""
    here, there = multiprocessing.Pipe()

    def act():
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        there.send(deed())

    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    there.close()
    try:
        return here.recv()  # EOFError where the deed has failed: its traceback is on stderr
    finally:
        process.join()


def test_an_ordinary_user(launcher):
    cluster, user = launcher.cluster, launcher.cluster.ordinary_user
    if user is None:
        pytest.skip("the tests above were an ordinary user's")
    launcher.choose()  # what is imported now needs not be found by the other user
    cluster.submit("sleep 600", "--partition=a100", "--gres=gpu:a100:5", "--time=1-0", user=user)
    wait_until(lambda: "R" in cluster.run("squeue", "-h", "-o", "%t").stdout.split(), 30, "the job does not start")
    assert as_user(user, lambda: launcher.choose().partition.name) == "a40"
    found = as_user(user, lambda: preflight.check(["train"], launcher.config, launcher.profiles, launcher.paths))
    levels = {each.subject: each.level for each in found}
    assert (levels["a100: queue"], levels["a40: queue"]) == ("ok", "ok")
    (root,) = [each for each in found if each.subject == "root"]
    assert root.level == "fault"  # the folder of root's tests
    assert root.message.endswith("Permission denied; choose another --root")
