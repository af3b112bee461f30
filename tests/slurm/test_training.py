"""Training on real Slurm ends as if nothing had happened, whatever happens to its jobs."""

import signal
import time

import pytest

from tests.jobs import aftermath, made_up, ranks
from tests.slurm.daemons import wait_until
from tests.slurm.site import CHANGES, Site, job_tasks
from vdt_hpc.store.checkpoint import folder_name

LONG = {"train__total_clips": 3_000, "train__val_every_clips": 3_000}
ENDLESS = {"train__total_clips": 60_000, "train__checkpoint_every_clips": 1_200, "train__keep_checkpoints": 50}
CHECKPOINT, BATCH = CHANGES["train__checkpoint_every_clips"], CHANGES["batch__global_clips"]


def undisturbed(root, **changes):
    """The same run in one process that nobody disturbs."""
    changes = CHANGES | changes
    paths = made_up.write_latents(made_up.config(**changes), made_up.partition(root))
    ranks.train(root, changes)
    return paths


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def long_reference(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("reference"), **LONG)


@pytest.fixture
def site(cluster, tmp_path):
    return Site(cluster, tmp_path)


def assert_close(state, reference):
    """The same weights, but for rounding."""
    distances = aftermath.distances(state, reference)
    assert max(distances["model"], distances["ema"]) < 1e-3, distances


def assert_as_undisturbed(paths, reference):
    """Examples and weights are those of the other run, but for rounding."""
    losses = aftermath.curve(paths, "train", "loss")
    assert losses == pytest.approx(aftermath.curve(reference, "train", "loss"), rel=1e-5)
    assert_close(aftermath.final_state(paths), aftermath.final_state(reference))
    assert aftermath.positions(paths, "end") == [paths.config.train.total_clips]


def test_on_after_the_time_limit_to_the_other_partition_and_back(cluster, tmp_path):
    """Five tasks until the time limit; again, by themselves; four on the other partition; five again."""
    site = Site(cluster, tmp_path, {"a100": 5, "a40": 4}, **ENDLESS)
    site.write_partition("a100", 5, timeout_min=1, save_margin_s=25)  # 35 s, start included
    first = site.launch("a100")
    site.wait_for_legs(2, seconds=120)
    site.write_partition("a100", 5)
    second = site.launch("a40")
    wait_until(lambda: site.legs()[-1].job == f"{second}-0", 90, site.logs)
    third = site.launch("a100")
    wait_until(lambda: site.legs()[-1].job == f"{third}-0", 90, site.logs)
    compared_at = (site.legs()[-1].first_clips // 1_200 + 1) * 1_200
    wait_until((site.paths.checkpoints / folder_name(compared_at)).exists, 90, site.logs)
    cancelled = site.cancel()
    assert cancelled.returncode == 0, cancelled.stderr

    legs = site.legs()
    *on_first, there, back = legs
    assert {leg.job.partition("-")[0] for leg in on_first} == {first}
    assert len(on_first) >= 2
    assert {leg.why for leg in on_first} <= {"the time limit", f"moved to job {second} on a40"}
    assert on_first[0].why == "the time limit"
    assert (there.job, there.why) == (f"{second}-0", f"moved to job {third} on a100")
    assert (back.job, back.why) == (f"{third}-0", "cancelled by launch --cancel")
    assert [leg.world_size for leg in legs] == [5] * len(on_first) + [4, 5]
    assert {leg.lost_clips for leg in legs} == {0}

    changes = CHANGES | ENDLESS
    reference = made_up.write_latents(made_up.config(**changes), made_up.partition(tmp_path / "reference"))
    alone = ranks.Ranks(tmp_path / "reference", changes)
    alone.wait_for((reference.checkpoints / folder_name(compared_at)).exists)
    alone.kill()
    curves = [aftermath.curve(paths, "train", "loss") for paths in (site.paths, reference)]
    losses, expected = ({clips: loss for clips, loss in curve.items() if clips <= compared_at} for curve in curves)
    assert len(losses) == compared_at / BATCH
    assert losses == pytest.approx(expected, rel=1e-5)
    states = [aftermath.state_at(paths, compared_at) for paths in (site.paths, reference)]
    assert_close(*states)


def test_preempted_with_grace_it_loses_nothing_and_runs_the_code_of_its_submission(cluster, tmp_path, reference):
    site = Site(cluster, tmp_path, train__checkpoint_every_clips=CHANGES["train__total_clips"])
    cluster.set_grace_time(5)
    job = site.launch("a40")
    site.wait_for_clips(150)
    (code,) = site.paths.code.iterdir()
    (code / "code.json").write_text('{"commit": "of-the-copy", "sha256": ""}')
    cluster.submit("sleep 1", "--partition=devel", "--gres=gpu:a40:4")
    site.wait_for(job, "COMPLETED", timeout=120)
    first, last = site.legs()
    assert (first.why, first.lost_clips, first.last_clips) == ("preempted", 0, last.first_clips)
    assert last.job == f"{job}-1"
    assert aftermath.log_lines(site.paths, "start")[-1]["code_commit"] == "of-the-copy"
    assert_as_undisturbed(site.paths, reference)


@pytest.mark.parametrize("kind", ["cluster", "accounting_cluster"])
def test_preempted_without_grace_it_loses_one_save_interval_at_most(request, kind, tmp_path, reference):
    cluster = request.getfixturevalue(kind)
    site = Site(cluster, tmp_path)
    cluster.set_grace_time(0)
    job = site.launch("a40")
    site.wait_for_clips(300)
    cluster.submit("sleep 1", "--partition=devel", "--gres=gpu:a40:4")
    site.wait_for(job, "COMPLETED", timeout=120)
    killed, last = site.legs()
    assert killed.why == "preempted", site.logs()
    assert 0 <= killed.lost_clips <= CHECKPOINT + BATCH
    assert last.first_clips == killed.last_clips - killed.lost_clips
    assert_as_undisturbed(site.paths, reference)


def test_through_deaths_of_daemons_and_of_its_node(cluster, tmp_path, long_reference):
    site = Site(cluster, tmp_path, **LONG)
    job = site.launch("a100")
    site.wait_for_clips(100)
    cluster.kill_slurmd("gpu-a100")
    cluster.restart_slurmctld()
    cluster.start_slurmd("gpu-a100")
    cluster.wait_ready()
    assert [leg.job for leg in site.legs()] == [f"{job}-0"]
    cluster.crash_node("gpu-a100")
    assert site.legs()[-1].why is None, site.logs()
    cluster.start_slurmd("gpu-a100")
    site.wait_for(job, "COMPLETED", timeout=120)
    killed, last = site.legs()
    assert "its node failed" in killed.why
    assert killed.lost_clips <= CHECKPOINT + BATCH
    assert (last.job, last.why) == (f"{job}-1", "complete")
    assert_as_undisturbed(site.paths, long_reference)


def test_a_task_that_is_killed_and_a_requeue_that_is_refused(site, reference):
    cluster = site.cluster
    first = site.launch("a40")
    site.wait_for_clips(200)
    job_tasks(cluster)[-1].kill(signal.SIGKILL)
    site.wait_for_legs(2)
    site.wait_for_clips(500)
    cluster.run("scontrol", "update", f"JobId={first}", "Requeue=0")
    job_tasks(cluster)[-1].kill(signal.SIGKILL)
    site.wait_for(first, "CANCELLED", timeout=60)
    second = site.submitted()[-1]
    assert second.continues == first
    site.wait_for(second.job, "COMPLETED", timeout=120)
    legs = site.legs()
    assert [leg.job for leg in legs] == [f"{first}-0", f"{first}-1", f"{second.job}-0"]
    assert all("crashed" in leg.why or "killed" in leg.why for leg in legs[:2]), [leg.why for leg in legs]
    assert all(leg.end and leg.lost_clips <= CHECKPOINT + BATCH for leg in legs)
    assert legs[-1].why == "complete"
    assert_as_undisturbed(site.paths, reference)


def test_a_job_that_finishes_nothing_new_is_not_started_for_ever(site):
    site.write_partition("a40", 2, max_idle_restarts=1)
    job = site.launch("a40")
    began = time.monotonic()
    while site.cluster.job_state(job) in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"):
        assert time.monotonic() - began < 120, site.logs()
        for task in job_tasks(site.cluster):
            task.kill(signal.SIGKILL)
        time.sleep(0.3)
    assert site.cluster.job_state(job) == "FAILED", site.logs()
    assert "1 restart(s) in a row have finished nothing new" in site.logs()


def test_requeued_by_hand_as_an_ordinary_user(cluster, reference):
    user = cluster.ordinary_user
    if user is None:
        pytest.skip("only root's daemons run jobs of other users")
    site = Site(cluster, cluster.home(user) / "site", user=user)
    job = site.launch("a40")
    site.wait_for_clips(100)
    cluster.run("scontrol", "requeue", job, user=user)
    site.wait_for(job, "COMPLETED", timeout=90)
    assert site.paths.ledger.owner() == user
    assert [leg.why for leg in site.legs()] == ["requeued by somebody", "complete"]
    assert_as_undisturbed(site.paths, reference)
