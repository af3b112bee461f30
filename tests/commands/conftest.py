"""A stand-in for Slurm's commands that answers questions and refuses to submit, and a run on disk to look at."""

import datetime
import hashlib
import json

import pytest

from tests.jobs import made_up
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.experiment.signature import signature
from vdt_hpc.store import manifest

SBATCH = """#!/bin/bash
[ "$1" = --test-only ] || exit 99  # nothing may be submitted by looking
text=$(cat)
name=$(sed -n 's/^#SBATCH --partition=//p' <<< "$text")
printf %s "$text" > "{folder}/asked-$name"
[ -e "{folder}/starts-$name" ] || exit 1
cat "{folder}/starts-$name" >&2
! grep -q failure "{folder}/starts-$name"
"""
SCONTROL = """#!/bin/bash
[ "$2" = config ] && echo "ClusterName = mission" || cat "{folder}"/partition-*
"""
HARDWARE = {
    "a100": {"gpus_per_node": 5, "cpus_per_task": 8, "peak_bf16_tflops": 312.0, "max_clips_per_gpu": 16},
    "a40": {"gpus_per_node": 4, "cpus_per_task": 8, "peak_bf16_tflops": 149.7, "max_clips_per_gpu": 6},
}


class FakeSlurm:
    """Two idle partitions, a100 and a40, until told otherwise."""

    def __init__(self, folder):
        self.folder = folder
        for name, text in (("sbatch", SBATCH), ("scontrol", SCONTROL)):
            (folder / name).write_text(text.format(folder=folder))
            (folder / name).chmod(0o755)
        self.takes_out_of_service(0)
        for name in HARDWARE:
            self.has(name)
            self.starts(name, in_s=0)

    def has(self, name, max_time="1-00:00:00", state="UP"):
        line = f"PartitionName={name} MaxTime={max_time} State={state} TotalNodes=2\n"
        (self.folder / f"partition-{name}").write_text(line)

    def has_not(self, name):
        (self.folder / f"partition-{name}").unlink()

    def starts(self, name, in_s):
        """What the estimate is; None: Slurm cannot tell."""
        moment = datetime.datetime.now() + datetime.timedelta(seconds=in_s or 0)
        when = "(null)" if in_s is None else f"{moment:%Y-%m-%dT%H:%M:%S}"
        self._say(name, f"sbatch: Job 7 to start at {when} using 40 processors on nodes n1 in partition {name}\n")

    def refuses(self, name, words):
        self._say(name, f"allocation failure: {words}\n")

    def takes_out_of_service(self, count):
        """Nodes of each partition."""
        (self.folder / "sinfo").write_text(f"#!/bin/bash\necho 1 idle\necho {count} drained*\n")
        (self.folder / "sinfo").chmod(0o755)

    def asked(self, name):
        """The submission that sbatch was last asked about."""
        return (self.folder / f"asked-{name}").read_text()

    def _say(self, name, words):
        (self.folder / f"starts-{name}").write_text(words)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return FakeSlurm(folder)


class Run:
    """A made-up run under a root, with latents, and with what tests put beside them."""

    def __init__(self, root, **changes):
        self.root = root
        self.config = made_up.config(**changes)
        self.paths = paths_for(self.config, made_up.partition(root))

    def profile(self, name, **fields):
        return Partition(**{"name": name, "root": str(self.root), **HARDWARE.get(name, {"cpus_per_task": 1}), **fields})

    def write_latents(self, **changes):
        made_up.write_latents(self.config, made_up.partition(self.root), **changes)
        return self

    def fingerprint(self):
        return manifest.read_manifest(self.paths.latents).fingerprint

    def write_checkpoint(self, clips, size=1000, **changes):
        """A checkpoint by names and sizes; its tensors are noise."""
        folder = self.paths.checkpoints / f"clips-{clips:09d}"
        folder.mkdir(parents=True)
        marks = {}
        for part in ("model", "ema", "optimizer"):
            content = bytes(size)
            (folder / f"{part}.safetensors").write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            marks[f"{part}.safetensors"] = {"sha256": digest, "num_bytes": size}
        mark = {
            "version": 1, "clips_seen": clips, "signature": signature(self.config), "latents_fingerprint": "made-up",
            "code_commit": "0", "partition": "a100", "world_size": 5, "files": marks, **changes,
        }  # fmt: skip
        (folder / "checkpoint.json").write_text(json.dumps(mark))
        return folder

    def log(self, *lines):
        """Append to the training log; a line is its kind and its values."""
        self.paths.run.mkdir(parents=True, exist_ok=True)
        with self.paths.progress_log.open("a") as file:
            for kind, values in lines:
                file.write(json.dumps({"kind": kind, "clips_seen": 0, "time": "2026-01-01T00:00:00+00:00", **values}))
                file.write("\n")

    def log_speed(self, partition, world_size, *clips_per_s, mfu=None):
        """A start somewhere, and the speeds measured there."""
        lines = [("train", {"clips_per_s": each, "mfu": mfu}) for each in clips_per_s]
        self.log(("start", {"partition": partition, "world_size": world_size}), *lines)

    def log_saves(self, partition, world_size, *durable_s):
        lines = [("checkpoint", {"blocked_s": 0.1, "durable_s": each}) for each in durable_s]
        self.log(("start", {"partition": partition, "world_size": world_size}), *lines)


@pytest.fixture
def new_run(tmp_path):
    """Makes runs of one root."""
    return lambda **changes: Run(tmp_path / "runs", **changes)
