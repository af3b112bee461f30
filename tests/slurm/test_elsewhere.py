"""A run that is copied to another cluster goes on there with the same command, though the job numbers are the same."""

import os
import re
import signal
import subprocess

import pytest

from tests.jobs import aftermath, made_up, ranks
from tests.slurm.site import CHANGES, Site, job_tasks
from vdt_hpc.cluster import submissions
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.store import ledger


class Elsewhere(Site):
    """Another cluster's site, where a run and its latents are a copy.

    Args:
        cluster: the other cluster.
        home: the site where the run was trained so far.
        root: folder of the copy.
        name: of its partition file; on purpose not Slurm's.
        queue: Slurm's name of the partition.
        gpus: of a job, without a type.
    """

    def __init__(self, cluster, home, root, name, queue, gpus):
        self.cluster, self.root, self._user = cluster, root, None
        root.mkdir()
        subprocess.run(["cp", "-a", home.root / "runs", home.root / "run.yaml", root], check=True)
        self.paths = paths_for(home.paths.config, made_up.partition(root / "runs"))
        self.write_partition(name, gpus, gres="null", slurm_partition=queue, lease_timeout_s=4)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The run in one process that nobody disturbs."""
    root = tmp_path_factory.mktemp("reference")
    paths = made_up.write_latents(made_up.config(**CHANGES), made_up.partition(root))
    ranks.train(root, CHANGES)
    return paths


def meet_in_numbers(*clusters):
    """Let the next jobs of the clusters have the same number."""
    last = {cluster: int(cluster.submit("true", "--hold")) for cluster in clusters}
    for cluster, number in last.items():
        while number < max(last.values()):
            number = int(cluster.submit("true", "--hold"))


def send_to(cluster, number):
    for process in job_tasks(cluster):
        os.kill(process.pid, number)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_ended_as(paths, reference):
    curves = [aftermath.curve(each, "train", "loss") for each in (paths, reference)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    distances = aftermath.distances(aftermath.final_state(paths), aftermath.final_state(reference))
    assert max(distances["model"], distances["ema"]) < 1e-3


def test_a_copy_of_a_run_goes_on_at_another_cluster(cluster, second_cluster, tmp_path, reference):
    """One copy is taken in the middle of the training, with the lease of a job that lives on; one after its end."""
    home = Site(cluster, tmp_path / "home", {"a40": 2})
    meet_in_numbers(cluster, second_cluster)
    first = home.launch("a40")
    home.wait_for_clips(300)
    send_to(cluster, signal.SIGSTOP)
    caught = Elsewhere(second_cluster, home, tmp_path / "caught", "big", "gpu-long", 3)
    untouched = contents(home.paths.run)
    for name in (f"rendezvous-{first}-0.json", f"rendezvous-mission-{first}-0.json"):  # as of a job that just starts
        (caught.paths.jobs / name).write_text('{"host": "127.0.0.1", "port": 1}')
    of_the_first = contents(caught.paths.jobs_of("train", "mission"))
    second = caught.launch("big")
    assert second == first
    caught.wait_for_legs(2, seconds=90)
    assert contents(home.paths.run) == untouched
    assert re.search(rf"this run is being trained by job {first} on a40 \(node \S+ of cluster mission\)", caught.logs())
    send_to(cluster, signal.SIGCONT)
    cluster.run("scancel", first)
    home.wait_for(first, "CANCELLED", timeout=60)
    ended = Elsewhere(second_cluster, home, tmp_path / "ended", "small", "gpu-short", 1)
    third = ended.launch("small")
    caught.wait_for(second, "COMPLETED", timeout=120)
    ended.wait_for(third, "COMPLETED", timeout=120)

    for site, name, job, size in ((caught, "big", second, 3), (ended, "small", third, 1)):
        assert_ended_as(site.paths, reference)
        before, after = ledger.read(site.paths.ledger)
        assert (before.cluster, before.partition, before.job, before.world_size) == ("mission", "a40", f"{first}-0", 2)
        assert (after.cluster, after.partition, after.job, after.world_size) == ("elsewhere", name, f"{job}-0", size)
        assert (after.first_clips >= 240, after.why) == (True, "complete")
        assert [each.job for each in submissions.read(site.paths, "mission")] == [first]
        assert [each.job for each in submissions.read(site.paths, "elsewhere")] == [job]
    assert [leg.why for leg in caught.legs()] == [ledger.KILLED, "complete"]
    assert of_the_first
    assert contents(caught.paths.jobs_of("train", "mission")) == of_the_first
