"""A run that is copied to another cluster goes on there with the same command, though the job numbers are the same."""

import os
import signal
import subprocess
import time

import pytest

from tests.jobs import aftermath
from tests.slurm.site import Site, job_tasks
from vdt_hpc.cluster import submissions
from vdt_hpc.store import ledger

ELSEWHERE = {
    "big": "slurm_partition: gpu-long\ngpus_per_node: 3\nlease_timeout_s: 4\n",
    "small": "slurm_partition: gpu-short\ngpus_per_node: 1\nlease_timeout_s: 4\n",
}


def meet_in_numbers(*clusters):
    """Let the next jobs of the clusters have the same number."""
    last = {cluster: int(cluster.submit("true", "--hold")) for cluster in clusters}
    for cluster, number in last.items():
        while number < max(last.values()):
            number = int(cluster.submit("true", "--hold"))


def send_to(cluster, number):
    for process in job_tasks(cluster):
        os.kill(process.pid, number)


def copied(site, cluster, folder):
    """The run and its latents, copied to another cluster's site."""
    folder.mkdir()
    subprocess.run(["cp", "-a", site.root / "runs", folder], check=True)
    return Site(cluster, folder, ELSEWHERE)


def wait_for_legs(site, num_legs, seconds=90):
    deadline = time.monotonic() + seconds
    while len(ledger.read(site.paths.ledger)) < num_legs:
        assert time.monotonic() < deadline, site.logs()
        time.sleep(0.1)


def assert_ended_as(site, reference):
    legs = ledger.read(site.paths.ledger)
    assert [(leg.cluster, leg.world_size) for leg in legs[:1]] == [("mission", 2)]
    assert legs[-1].why == "complete"
    curves = [aftermath.curve(paths, "train", "loss") for paths in (site.paths, reference)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    distances = aftermath.distances(aftermath.final_state(site.paths), aftermath.final_state(reference))
    assert distances["model"] < 1e-3
    assert distances["ema"] < 1e-3


def test_a_copy_of_a_run_goes_on_at_another_cluster(cluster, second_cluster, tmp_path, reference):
    """One copy is taken in the middle of the training, with the lease of a job that lives on; one after its end."""
    home = Site(cluster, tmp_path / "home")
    meet_in_numbers(cluster, second_cluster)
    first = home.launch("a40")
    home.wait_for_clips(300)
    send_to(cluster, signal.SIGSTOP)
    caught = copied(home, second_cluster, tmp_path / "caught")
    second = caught.launch("big")
    assert second == first
    wait_for_legs(caught, 2)
    send_to(cluster, signal.SIGCONT)
    cluster.run("scancel", first)
    cluster.wait_for_state(first, "CANCELLED", timeout=60)
    ended = copied(home, second_cluster, tmp_path / "ended")
    third = ended.launch("small")
    second_cluster.wait_for_state(second, "COMPLETED", timeout=120)
    second_cluster.wait_for_state(third, "COMPLETED", timeout=120)

    for site, last, size in ((caught, second, 3), (ended, third, 1)):
        assert_ended_as(site, reference)
        leg = ledger.read(site.paths.ledger)[-1]
        assert (leg.cluster, leg.partition, leg.world_size) == ("elsewhere", "big" if size == 3 else "small", size)
        assert leg.job == f"{last}-0"
        assert leg.first_clips >= 240
        assert [each.job for each in submissions.read(site.paths, "mission")] == [first]
        assert [each.job for each in submissions.read(site.paths, "elsewhere")] == [last]
    assert "killed" in ledger.read(caught.paths.ledger)[0].why
