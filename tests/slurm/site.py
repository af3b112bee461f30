"""A made-up run at a site with a Slurm cluster, and what people do with it: launch, wait, look."""

import shutil
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from tests.jobs import aftermath, made_up
from tests.slurm.daemons import job_processes, wait_until
from vdt_hpc.cluster import submissions
from vdt_hpc.cluster.job import StageJob
from vdt_hpc.store import ledger

HOME = Path(__file__).parents[2]
CHANGES = {
    "batch__global_clips": 12, "train__total_clips": 1_200, "train__checkpoint_every_clips": 120,
    "train__log_every_clips": 12, "train__val_every_clips": 240,
}  # fmt: skip
TASKS = {"a100": 3, "a40": 2}


class Site:
    """A run whose latents are written, and one file per partition.

    Args:
        cluster: the Slurm cluster.
        root: folder of the run's and the partitions' files.
        tasks: partition -> GPUs of a job.
        user: who launches; None: whoever runs the tests.
        changes: of the run, see `made_up.config`.
    """

    def __init__(self, cluster, root, tasks=TASKS, user=None, **changes):
        self.cluster, self.root, self._user = cluster, root, user
        root.mkdir(exist_ok=True)
        run = made_up.config(**CHANGES | changes)
        self.paths = made_up.write_latents(run, made_up.partition(root / "runs"))
        (root / "run.yaml").write_text(run.model_dump_json())
        for name, gpus in tasks.items():
            self.write_partition(name, gpus)
        if user is not None:
            for path in (root, *root.rglob("*")):
                shutil.chown(path, user)

    def write_partition(self, name, gpus, **fields):
        values = {
            "name": name, "gres": f"gpu:{name}:{gpus}", "gpus_per_node": gpus, "cpus_per_task": 1, "timeout_min": 10,
            "save_margin_s": 60, "max_clips_per_gpu": 3, **fields,
        }  # fmt: skip
        (self.root / f"{name}.yaml").write_text("".join(f"{key}: {value}\n" for key, value in values.items()))

    def command(self, *words, partitions=""):
        """Run the launcher for the run; `partitions` are names of the site's files, with commas."""
        where = ",".join(str(self.root / f"{name}.yaml") for name in partitions.split(",") if name)
        return self._launcher(*words, "--run", self.root / "run.yaml", *(["--partition", where] if where else []))

    def cancel(self):
        """Run `launch --cancel` for the run."""
        return self._launcher("--cancel", self.paths.run.name)

    def _launcher(self, *words):
        python, environment = interpreter(self.cluster, self._user)
        command = [python, "-m", "vdt_hpc.launch", *words, "--root", self.root / "runs"]
        done = self.cluster.run(*command, user=self._user, cwd=HOME, env=environment, check=False)
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    def launch(self, partitions, *words):
        """Send stages (`train` unless named) off; returns the id of the last job that was submitted."""
        done = self.command(*(words or ["train"]), partitions=partitions)
        assert done.returncode == 0, done.stderr
        return submissions.read(self.paths, self.cluster.layout.cluster_name)[-1].job

    def submitted(self, stage="train"):
        """What was submitted for a stage on this cluster, oldest first."""
        return submissions.read(self.paths, self.cluster.layout.cluster_name, stage)

    def wait_for_clips(self, clips, seconds=120):
        """Wait until training has come past a position."""
        deadline = time.monotonic() + seconds
        while max(aftermath.positions(self.paths, "train"), default=0) < clips:
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.1)

    def legs(self):
        """The jobs that have trained the run."""
        return ledger.read(self.paths.ledger, self.paths.jobs / "train")

    def wait_for_legs(self, count, seconds=60):
        """Wait until that many jobs have begun to train the run."""
        wait_until(lambda: len(self.legs()) >= count, seconds, self.logs)

    def wait_for(self, job, *states, **options):
        """Wait until a job is in one of the states; what the jobs have said is told if it does not come to that."""
        try:
            return self.cluster.wait_for_state(job, *states, **options)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.logs()}") from error

    def logs(self):
        """The end of every log."""
        paths = sorted(self.paths.jobs.rglob("*_log.*"))
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in paths if path.stat().st_size)

    def sent_as(self, job, stage="train"):
        """What submitit was given for a job."""
        return StageJob.submitted(self.paths.jobs_of(stage, self.cluster.layout.cluster_name), job)


def interpreter(cluster, user):
    """A Python that a user may run, and its environment: the tests' own, or the system's with the same packages."""
    environment = cluster.env(user)
    if user is None or cluster.run(sys.executable, "-c", "", user=user, check=False, cwd="/").returncode == 0:
        return sys.executable, environment
    system = f"/usr/bin/python3.{sys.version_info.minor}"
    packages = environment | {"PYTHONPATH": f"{HOME}:{sysconfig.get_path('purelib')}"}
    check = cluster.run(system, "-c", "import torch, vdt_hpc", user=user, check=False, cwd="/", env=packages)
    if check.returncode:
        pytest.skip(f"user {user} can run neither {sys.executable} nor {system} with its packages")
    return system, packages


def job_tasks(cluster):
    """Processes of the tasks of all jobs, the latest last; not their scripts, nor srun."""
    found = []
    for process in job_processes(cluster.configuration):
        path = Path(f"/proc/{process.pid}/cmdline")
        words = path.read_bytes().split(b"\0") if path.exists() else [b""]
        if b"submitit.core._submit" in words and b"srun" not in words[0]:
            found.append(process)
    return sorted(found, key=lambda process: process.pid)
