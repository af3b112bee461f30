"""Training on real Slurm: sent off by the launcher, requeued, preempted, moved to the other partition."""

import json
import signal

import pytest

from tests.jobs import aftermath, made_up, ranks
from tests.slurm.site import CHANGES, Site, job_tasks
from vdt_hpc.cluster import submissions
from vdt_hpc.store import ledger


@pytest.fixture
def site(cluster, tmp_path):
    return Site(cluster, tmp_path)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The run in one process that nobody disturbs."""
    root = tmp_path_factory.mktemp("reference")
    paths = made_up.write_latents(made_up.config(**CHANGES), made_up.partition(root))
    ranks.train(root, CHANGES)
    return paths


def test_a_run_that_is_requeued_preempted_and_moved_ends_as_one_that_was_not(site, reference):
    cluster = site.cluster
    first = site.launch("a100")
    site.wait_for_clips(100)
    (code,) = site.paths.code.iterdir()
    (code / "code.json").write_text('{"commit": "of-the-copy", "sha256": ""}')
    cluster.run("scontrol", "requeue", first)
    cluster.wait_for_state(first, "RUNNING", restarts=1, timeout=90)
    site.wait_for_clips(300)
    cluster.run("scancel", first)
    cluster.wait_for_state(first, "CANCELLED", timeout=60)
    second = site.launch("a40")
    site.wait_for_clips(600)
    cluster.submit("sleep 1", "--partition=devel", "--gres=gpu:a40:4")
    cluster.wait_for_state(second, "COMPLETED", timeout=180)

    legs = ledger.read(site.paths.ledger)
    assert [leg.partition for leg in legs][:2] == ["a100", "a100"]
    assert {leg.partition for leg in legs[2:]} == {"a40"}
    assert len(legs) >= 4, site.logs()
    assert legs[-1].why == "complete"
    assert aftermath.log_lines(site.paths, "start")[-1]["code_commit"] == "of-the-copy"
    assert aftermath.curve(site.paths, "train", "loss") == pytest.approx(
        aftermath.curve(reference, "train", "loss"), rel=1e-5
    )
    distances = aftermath.distances(aftermath.final_state(site.paths), aftermath.final_state(reference))
    assert distances["model"] < 1e-3
    assert distances["ema"] < 1e-3
    assert json.loads((site.paths.run / "progress.jsonl").read_text().splitlines()[-1])["kind"] == "end"


def test_a_task_that_is_killed_and_a_requeue_that_is_refused(site, reference):
    cluster = site.cluster
    first = site.launch("a40")
    site.wait_for_clips(200)
    job_tasks(cluster)[-1].kill(signal.SIGKILL)
    cluster.wait_for_state(first, "RUNNING", restarts=1, timeout=90)
    site.wait_for_clips(500)
    cluster.run("scontrol", "update", f"JobId={first}", "Requeue=0")
    job_tasks(cluster)[-1].kill(signal.SIGKILL)
    cluster.wait_for_state(first, "CANCELLED", timeout=60)
    second = submissions.read(site.paths, "mission", "train")[-1]
    assert second.continues == first
    cluster.wait_for_state(second.job, "COMPLETED", timeout=180)

    legs = ledger.read(site.paths.ledger)
    assert [leg.job for leg in legs] == [f"{first}-0", f"{first}-1", f"{second.job}-0"]
    assert all("crashed" in leg.why or "killed" in leg.why for leg in legs[:2]), [leg.why for leg in legs]
    assert all(leg.end and leg.lost_clips <= 130 for leg in legs)
    assert legs[-1].why == "complete"
    assert aftermath.curve(site.paths, "train", "loss") == pytest.approx(
        aftermath.curve(reference, "train", "loss"), rel=1e-5
    )
