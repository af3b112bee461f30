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
    assert f"is in the queue already: job {trains.job}, train on a40 (RUNNING)" in again.stdout
    assert len(site.submitted()) == 2

    job_tasks(cluster)[0].kill(signal.SIGKILL)
    wait_until(lambda: len(site.submitted()) == 3, 60, site.logs)
    assert (site.submitted()[2].partition, site.submitted()[2].continues) == ("a100", trains.job)
    site.wait_for(trains.job, "RUNNING", restarts=1)
    wait_until(lambda: set(in_queue(cluster)) == {busy, trains.job}, 30, site.logs)

    site.wait_for_legs(2)

    shown = site.command("train", "--dry-run", partitions="a100").stdout
    fate = "would go on until the new one starts, and hand the run over"
    assert shown.splitlines()[-1] == f"job {trains.job}, train on a40 (RUNNING): {fate}"
    moved = site.launch("a100")
    cancelled = site.cancel()
    assert cancelled.returncode == 0, cancelled.stderr
    assert f"job {moved} on a100 (PENDING): cancelled" in cancelled.stdout
    assert f"job {trains.job} on a40 (RUNNING): asked to save and end" in cancelled.stdout
    assert set(in_queue(cluster)) == {busy}
    last = site.legs()[-1]
    assert (last.why, last.lost_clips) == ("cancelled by launch --cancel", 0)
    again = site.cancel()
    assert "nothing of tiny is in the queue of mission" in again.stdout


def test_other_settings_are_refused_while_it_runs_and_sent_with_replace(site):
    old = site.launch("a40")
    site.wait_for_clips(60)
    refused = site.command("train", "train.log_every_clips=24", partitions="a40")
    assert refused.returncode == 2
    assert f"job {old}, which is in the queue of a40 for the stage train, has other settings (" in refused.stderr
    assert "train.log_every_clips); add --replace" in refused.stderr
    done = site.command("train", "train.log_every_clips=24", "--replace", partitions="a40")
    assert f"job {old} on a40 (RUNNING): asked to save and end" in done.stdout, done.stderr
    new = site.submitted()[-1]
    assert new.replaces == (old,)
    site.wait_for_legs(2)
    first, second = site.legs()
    assert (first.why, first.lost_clips) == (f"moved to job {new.job} on a40", 0)
    assert (second.job, second.first_clips) == (f"{new.job}-0", first.last_clips)
    assert site.sent_as(new.job).run_config.train.log_every_clips == 24


def test_auto_goes_where_there_is_room_and_says_why(site):
    fill(site.cluster, "a100", 5)
    where = f"auto:{site.root}/a100.yaml,{site.root}/a40.yaml"
    done = site.command("train", "--partition", where)
    assert "chosen: a40, which starts first: now, a100 in " in done.stdout, done.stdout + done.stderr
    (job,) = site.submitted()
    assert job.partition == "a40"
    assert f"is in the queue already: job {job.job}, train on a40" in site.command("train", "--partition", where).stdout


def test_what_would_never_start_is_refused_before_it_is_queued(site):
    site.write_partition("a40", 2, timeout_min=721)
    done = site.command("train", partitions="a40")
    assert done.returncode == 2
    assert "timeout_min 721 of profile a40 is above the limit of the partition a40, 720 min" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not in_queue(site.cluster)
    check = site.command("train", "--check", partitions="a40,a100")
    assert check.returncode == 2
    assert "1 fault" in check.stdout
    site.write_partition("a40", 2)
    assert site.command("train", "--check", partitions="a40,a100").returncode == 0
