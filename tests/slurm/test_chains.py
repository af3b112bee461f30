"""Stages that follow one another, and job arrays that share a stage's work. Real Slurm."""

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.preprocess.source.packed import to_zip
from tests.slurm.daemons import wait_until
from tests.slurm.site import HOME, job_tasks
from tests.slurm.test_moving import fill, in_queue
from vdt_hpc import files
from vdt_hpc.cluster import submissions
from vdt_hpc.commandline import load_run
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import paths_for

PLACE = (
    "name: {name}\ngres: gpu:{name}:1\ngpus_per_node: 1\ncpus_per_task: 1\ntimeout_min: 10\nsave_margin_s: 30\n"
    "max_clips_per_gpu: 6\n"
)
COPIES = 10
BRIEF = ("train.total_clips=6", "train.num_strips=0", "sample.num_clips=20", "sample.tasks=[unconditional]")


class Chain:
    """The smoke run over real frames, and the launcher's commands on a cluster."""

    def __init__(self, cluster, root, frames):
        self.cluster, self.root = cluster, root
        for name in ("a100", "a40"):
            (root / f"{name}.yaml").write_text(PLACE.format(name=name))
        self.overrides = ["streets=null", f"data.root={frames}"]
        config = load_run("smoke", self.overrides)
        where = strict.load(Partition, root / "a40.yaml").model_copy(update={"root": str(root / "runs")})
        self.paths = paths_for(config, where)

    def launch(self, *words, partitions="a40"):
        """What the launcher prints."""
        where = ",".join(str(self.root / f"{name}.yaml") for name in partitions.split(","))
        command = [sys.executable, "-m", "vdt_hpc.launch", *words, *self.overrides, "--run", "smoke"]
        command += ["--partition", where, "--root", str(self.root / "runs")]
        done = subprocess.run(command, cwd=HOME, env=self.cluster.env(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self):
        """What status prints of the run."""
        command = [sys.executable, "-m", "vdt_hpc.status", "smoke", "--root", str(self.root / "runs")]
        done = subprocess.run(command, cwd=HOME, env=self.cluster.env(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sent(self, stage):
        """The last job that was submitted for a stage."""
        return submissions.read(self.paths, "mission", stage)[-1]

    def folder(self, stage):
        """Where a stage's jobs leave their logs."""
        return self.paths.jobs_of(stage, "mission")

    def logs(self):
        return "\n".join(path.read_text()[-1500:] for path in sorted(self.paths.jobs.rglob("*_log.*")))


@pytest.fixture(scope="module")
def frames(pipeline, tmp_path_factory):
    """The smoke run's frames, its training clips many times over."""
    (made,) = (pipeline.root / "frames").iterdir()
    root = tmp_path_factory.mktemp("frames")
    for path in made.rglob("*_leftImg8bit.png"):
        split, city = path.parts[-3:-1]
        for copy in range(1 if split == "val" else COPIES):
            name = city + "x" * copy
            target = root / "leftImg8bit_sequence" / split / name / path.name.replace(city, name, 1)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return root


@pytest.fixture
def chain(cluster, tmp_path, frames):
    return Chain(cluster, tmp_path, frames)


@pytest.fixture
def packed(cluster, tmp_path, frames):
    """The same over the same frames in a zip."""
    return Chain(cluster, tmp_path, to_zip(frames, tmp_path / "frames.zip"))


def test_an_encode_array_that_is_killed_twice_makes_the_same_latents(packed, alone):
    """From a zip, too. The second time Slurm refuses the requeue: what waits for the array also waits for the job that
    goes on.
    """
    chain, cluster = packed, packed.cluster
    said = chain.launch("encode", "train", "sample", "--array", "3", *BRIEF)
    array = chain.sent("encode")
    assert f"as job {array.job} (an array of 3)" in said
    shards = lambda: list(chain.paths.latents.glob("train-*.h5"))  # noqa: E731
    wait_until(lambda: len(shards()) >= 4, 60, chain.logs)
    for task in job_tasks(cluster):
        task.kill(signal.SIGKILL)
    shown = chain.status()  # the array waits to be started again
    found = re.search(r"encoding +(\d+) of (\d+) shards, [\d,.]+ frames/s, \S+ \S+ left", shown)
    assert found and int(found[1]) >= 4 and int(found[2]) == 3 * COPIES + 1, shown
    wait_until(lambda: any(cluster.job(task).get("Restarts") == "1" for task in array.tasks), 60, chain.logs)
    done_before = len(shards())
    wait_until(lambda: len(shards()) > done_before or not in_queue(cluster), 60, chain.logs)
    cluster.run("scontrol", "update", f"JobId={array.job}", "Requeue=0", check=False)
    job_tasks(cluster)[-1].kill(signal.SIGKILL)
    wait_until(lambda: not in_queue(cluster), 120, chain.logs)

    manifest = files.read_json(chain.paths.latents / "manifest.json")
    assert len(manifest["shards"]) == 3 * COPIES + 1
    assert "encoding" not in chain.status()
    assert without_root(manifest) == without_root(alone)
    share, train, sample = (chain.sent(stage) for stage in ("encode", "train", "sample"))
    assert (share.is_share, share.continues.partition("_")[0]) == (True, array.job)
    assert share.job in train.dependency
    assert cluster.job_state(train.job) == "COMPLETED", chain.logs()

    (samples,) = chain.paths.samples.glob("*/samples.json")
    assert files.read_json(samples)["num_clips"] == 2 * COPIES
    assert len(list(samples.parent.glob("part-*.h5"))) == 3
    written = [(chain.folder("sample") / f"{task}_0_log.out").read_text() for task in sample.tasks]
    assert all("sample unconditional: " in text for text in written), written


def without_root(manifest):
    """What a manifest says beside where the frames lay."""
    recipe = manifest["recipe"]
    data = {name: value for name, value in recipe["data"].items() if name != "root"}
    return manifest | {"recipe": recipe | {"data": data}}


@pytest.fixture(scope="module")
def alone(frames, tmp_path_factory):
    """The manifest of the same latents, made by one process that nobody disturbs."""
    root = tmp_path_factory.mktemp("alone")
    words = ["encode", "streets=null", f"data.root={frames}", "--run", "smoke", "--partition", "local", "--root", root]
    subprocess.run([sys.executable, "-m", "vdt_hpc.launch", *map(str, words)], cwd=HOME, check=True)
    (path,) = root.glob("latents/*/manifest.json")
    return files.read_json(path)


def test_a_chain_whose_middle_job_is_cancelled_does_not_wait_for_ever(chain):
    cluster = chain.cluster
    busy = fill(cluster, "a40", 4)
    chain.launch("encode", "train", "sample", "evaluate")
    jobs = [chain.sent(stage).job for stage in ("encode", "train", "sample", "evaluate")]
    assert set(in_queue(cluster)) == {busy, *jobs}
    cluster.run("scancel", jobs[1])
    wait_until(lambda: set(in_queue(cluster)) == {busy, jobs[0]}, 30, chain.logs)


def test_what_waits_for_a_job_waits_for_the_one_in_its_place(chain):
    cluster = chain.cluster
    busy = fill(cluster, "a100", 5)
    chain.launch("encode", "train", "--array", "2", partitions="a100")
    first, train = chain.sent("encode"), chain.sent("train")
    said = chain.launch("encode")
    moved = chain.sent("encode")
    assert f"job {first.job}_0 on a100 (PENDING): cancelled" in said
    assert chain.sent("train").dependency == f"afterok:{first.job}?afterok:{moved.job}"
    cluster.run("scancel", busy)
    cluster.wait_for_state(moved.job, "COMPLETED", timeout=60)
    cluster.wait_for_state(train.job, "COMPLETED", timeout=60)


def test_a_chain_on_two_partitions_that_are_both_free(chain):
    """Jobs of both start in the same moment: one of each stage goes on, the other leaves."""
    cluster = chain.cluster
    chain.launch("encode", "train", "train.total_clips=6", "train.num_strips=0", partitions="a100,a40")
    wait_until(lambda: not in_queue(cluster), 120, chain.logs)
    for stage in ("encode", "train"):
        jobs = submissions.read(chain.paths, "mission", stage)
        assert sorted(cluster.job_state(job.job) for job in jobs) == ["CANCELLED", "COMPLETED"], chain.logs()
