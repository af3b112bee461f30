"""Training on real Slurm: sent off by the launcher, requeued, preempted, moved to the other partition."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.jobs import aftermath, made_up, ranks
from tests.slurm.daemons import job_processes
from vdt_hpc.cluster import submissions
from vdt_hpc.store import ledger

HOME = Path(__file__).parents[2]
CHANGES = {
    "batch__global_clips": 12, "train__total_clips": 1_200, "train__checkpoint_every_clips": 120,
    "train__log_every_clips": 12, "train__val_every_clips": 240,
}  # fmt: skip
TASKS = {"a100": 3, "a40": 2}


class Site:
    """A made-up run, and the launcher's commands on a cluster."""

    def __init__(self, cluster, root):
        self.cluster, self.root = cluster, root
        run = made_up.config(**CHANGES)
        self.paths = made_up.write_latents(run, made_up.partition(root / "runs"))
        (root / "run.yaml").write_text(run.model_dump_json())
        for name, tasks in TASKS.items():
            (root / f"{name}.yaml").write_text(
                f"name: {name}\ngres: gpu:{name}:{tasks}\ngpus_per_node: {tasks}\ncpus_per_task: 1\n"
                "timeout_min: 10\nsave_margin_s: 60\nmax_clips_per_gpu: 3\n"
            )

    def launch(self, partition):
        """Send the run off; returns the job's id."""
        words = ["train", "--run", self.root / "run.yaml", "--partition", self.root / f"{partition}.yaml"]
        command = [sys.executable, "-m", "vdt_hpc.launch", *map(str, words), "--root", str(self.root / "runs")]
        done = subprocess.run(command, cwd=HOME, env=self.cluster.env(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("as job ")[1].split(";")[0]

    def wait_for_clips(self, clips, seconds=120):
        """Wait until training has come past a position."""
        deadline = time.monotonic() + seconds
        while max(aftermath.positions(self.paths, "train"), default=0) < clips:
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.1)

    def logs(self):
        return "\n".join(path.read_text()[-2000:] for path in sorted((self.paths.jobs / "train").glob("*_0_log.*")))


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


def job_tasks(cluster):
    """Processes of a job's tasks, not of its script."""
    commands = {process: Path(f"/proc/{process.pid}/cmdline") for process in job_processes(cluster.configuration)}
    return [
        process for process, path in commands.items() if path.exists() and b"submitit.core._submit" in path.read_bytes()
    ]


def kill_one_task(cluster):
    python = [each for each in job_tasks(cluster) if b"srun" not in Path(f"/proc/{each.pid}/cmdline").read_bytes()]
    os.kill(python[-1].pid, signal.SIGKILL)


def test_a_task_that_is_killed_and_a_requeue_that_is_refused(site, reference):
    cluster = site.cluster
    first = site.launch("a40")
    site.wait_for_clips(200)
    kill_one_task(cluster)
    cluster.wait_for_state(first, "RUNNING", restarts=1, timeout=90)
    site.wait_for_clips(500)
    cluster.run("scontrol", "update", f"JobId={first}", "Requeue=0")
    kill_one_task(cluster)
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
