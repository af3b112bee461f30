"""A run in the queue: rivals on two partitions, moves, replacements, cancellation, arrays, chains. Real Slurm."""

import signal

import pytest

from tests.slurm.daemons import wait_until
from tests.slurm.site import Site, job_tasks
from vdt_hpc.cluster import submissions

MISSION = "mission"


def fill(cluster, partition, gpus):
    """Take all GPUs of a partition; returns the job that does."""
    job = cluster.submit("sleep 600", "-p", partition, f"--gres=gpu:{partition}:{gpus}")
    cluster.wait_for_state(job, "RUNNING", timeout=20)
    return job


def in_queue(cluster):
    """Id -> state of every job."""
    rows = cluster.run("squeue", "-h", "-o", "%i %T").stdout.split("\n")
    return dict(row.split() for row in rows if row)


@pytest.fixture
def site(cluster, tmp_path):
    return Site(cluster, tmp_path, train__total_clips=12_000)


def test_of_two_partitions_the_free_one_trains_and_the_other_job_disappears(site):
    """Then the run goes on by itself on both again, is moved while it waits, and is cancelled."""
    cluster = site.cluster
    busy = fill(cluster, "a100", 5)
    done = site.command("train", partitions="a100,a40")
    assert "the first of them to start goes on" in done.stdout
    waits, trains = site.submitted()
    assert (waits.partition, trains.partition) == ("a100", "a40")
    site.wait_for_clips(60)
    assert waits.job not in in_queue(cluster)
    assert submissions.ends(site.paths, MISSION)[waits.job] == f"job {trains.job} on a40 started first"

    again = site.command("train", partitions="a40,a100")
    assert f"in the queue of a40 already, as job {trains.job} (RUNNING)" in again.stdout
    assert len(site.submitted()) == 2

    job_tasks(cluster)[0].kill(signal.SIGKILL)
    wait_until(lambda: len(site.submitted()) == 3, 60, site.logs)
    assert (site.submitted()[2].partition, site.submitted()[2].continues) == ("a100", trains.job)
    site.wait_for(trains.job, "RUNNING", restarts=1)
    wait_until(lambda: set(in_queue(cluster)) == {busy, trains.job}, 30, site.logs)

    site.wait_for_legs(2)

    moved = site.launch("a100")
    cancelled = site.command("--cancel", "tiny")
    assert cancelled.returncode == 0, cancelled.stderr
    assert f"job {moved} on a100 (PENDING): cancelled" in cancelled.stdout
    assert f"job {trains.job} on a40 (RUNNING): asked to save and end" in cancelled.stdout
    assert set(in_queue(cluster)) == {busy}
    last = site.legs()[-1]
    assert (last.why, last.lost_clips) == ("cancelled by launch --cancel", 0)
    again = site.command("--cancel", "tiny")
    assert "nothing of tiny is in the queue of mission" in again.stdout
