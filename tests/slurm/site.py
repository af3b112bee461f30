"""A run on a cluster: made-up latents, profiles of the site, and the launcher's commands."""

import subprocess
import sys
import time
from pathlib import Path

from tests.jobs import aftermath, made_up
from tests.slurm.daemons import job_processes
from vdt_hpc.experiment.paths import paths_for

HOME = Path(__file__).parents[2]
CHANGES = {
    "batch__global_clips": 12, "train__total_clips": 1_200, "train__checkpoint_every_clips": 120,
    "train__log_every_clips": 12, "train__val_every_clips": 240,
}  # fmt: skip
COMMON = "cpus_per_task: 1\ntimeout_min: 10\nsave_margin_s: 60\nmax_clips_per_gpu: 3\n"
MISSION = {name: f"gres: gpu:{name}:{tasks}\ngpus_per_node: {tasks}\n" for name, tasks in {"a100": 3, "a40": 2}.items()}
"""Profiles of the first site: name -> lines."""


class Site:
    """A made-up run, and the launcher's commands on a cluster.

    Args:
        cluster: where.
        root: the folder of the configurations; `runs` is below it.
        profiles: name -> lines of a partition file, after the common ones.
    """

    def __init__(self, cluster, root, profiles=MISSION):
        self.cluster, self.root = cluster, root
        run = made_up.config(**CHANGES)
        root.mkdir(exist_ok=True)
        self.paths = paths_for(run, made_up.partition(root / "runs"))
        if not self.paths.latents.exists():
            made_up.write_latents(run, made_up.partition(root / "runs"))
        (root / "run.yaml").write_text(run.model_dump_json())
        for name, lines in profiles.items():
            (root / f"{name}.yaml").write_text(f"name: {name}\n{COMMON}{lines}")

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
        """The last words of all tasks' first ranks."""
        return "\n".join(path.read_text()[-2000:] for path in sorted((self.paths.jobs / "train").rglob("*_0_log.*")))


def job_tasks(cluster):
    """Processes of a job's tasks, and those that start them, but not of its script."""
    commands = {process: Path(f"/proc/{process.pid}/cmdline") for process in job_processes(cluster.configuration)}
    return [
        process for process, path in commands.items() if path.exists() and b"submitit.core._submit" in path.read_bytes()
    ]
