"""Which checkpoint the tasks of the stage `sample` take, while training publishes new ones and old ones go."""

import contextlib
import os
import shutil

import numpy as np
import pytest
import torch

from jobs import sample, train
from jobs.choosing import launch_of
from jobs.sampling import Generator
from tests.jobs import made_up
from vdt_hpc import files
from vdt_hpc.dist import Task
from vdt_hpc.errors import UserError
from vdt_hpc.model import autoencoder
from vdt_hpc.store.checkpoint import Checkpoint
from vdt_hpc.store.samples import SampleSet, part_path

CHANGES = {
    "train__total_clips": 12, "train__checkpoint_every_clips": 6, "train__num_strips": 0,
    "autoencoder": {"source": "configs/autoencoder/streets", "latent_channels": 4},
    "sample__num_clips": 9, "sample__tasks": ["prediction"],
}  # fmt: skip
RUN = made_up.config(**CHANGES)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    identity = autoencoder.load(RUN.autoencoder, torch.device("cpu")).identity()
    made_up.write_latents(RUN, made_up.partition(root), {"train": 4, "val": 2, "test": 9}, identity=identity)
    assert train.run(RUN, made_up.partition(root)).complete
    return root


@pytest.fixture
def trained(trained_once, tmp_path):
    """A root with latents and two checkpoints, but no samples."""
    shutil.copytree(trained_once, tmp_path / "root")
    return made_up.partition(tmp_path / "root")


@contextlib.contextmanager
def not_yet(path):
    """A checkpoint that training has not yet published."""
    aside = path.with_name(f".{path.name}.aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@pytest.fixture
def one_task(trained, monkeypatch):
    """One task of a job samples; the newest checkpoint is there, or not yet."""
    paths = made_up.paths_for(RUN, trained)
    newest = paths.checkpoints / "clips-000000012"

    def sampled(rank, world_size, job_id, published=True, run=RUN):
        task = Task(rank, world_size, rank, job_id)
        with monkeypatch.context() as patch, contextlib.nullcontext() if published else not_yet(newest):
            patch.setattr(sample, "current_task", lambda: task)
            return sample.run(run, trained)

    sampled.paths = paths
    return sampled


def names(paths):
    """Parts and marks of all sets, by checkpoint."""
    return sorted((path.parent.name[18:33], path.name) for path in paths.samples.glob("*/*"))


SIX, TWELVE = ([(name, "part-00000.h5"), (name, "part-00001.h5"), (name, "samples.json")] for name in (
    "clips-000000006", "clips-000000012",
))  # fmt: skip


def test_tasks_that_look_before_and_after_a_checkpoint_was_published_fill_one_set(one_task):
    assert one_task(0, 2, "7-0", published=False).summary == "1 part(s) are still with other tasks"
    assert one_task(1, 2, "7-0").summary.endswith("from clips-000000006")
    assert names(one_task.paths) == SIX
    for late in (one_task(2, 3, "7-0"), one_task(0, 2, "7-1")):  # a task without a share; a restart
        assert "already sampled" in late.summary
    assert names(one_task.paths) == SIX
    assert one_task(0, 1, "8-0").summary.endswith("from clips-000000012")
    assert names(one_task.paths) == SIX + TWELVE


def test_a_launch_goes_on_with_what_an_earlier_one_has_begun(one_task, capsys):
    one_task(0, 2, "7-0", published=False)
    assert one_task(0, 1, "8-0").summary.endswith("from clips-000000006")
    assert "going on with the samples that an earlier launch began from clips-000000006" in capsys.readouterr().out
    assert "already sampled" in one_task(1, 2, "7-0").summary
    assert names(one_task.paths) == SIX


def test_other_settings_are_another_choice(one_task):
    one_task(0, 2, "7-0", published=False)
    other = made_up.config(**CHANGES, sample__num_steps=4)
    assert one_task(0, 1, "8-0", run=other).summary.endswith("from clips-000000012")
    assert one_task(0, 1, "8-0").summary.endswith("from clips-000000006")


def flip(folder):
    file = folder / "ema.safetensors"
    file.write_bytes(bytes([*file.read_bytes()[:-1], 255]))


@pytest.mark.parametrize(
    ("harm", "fault"),
    [(shutil.rmtree, "is gone"), (flip, r"is damaged \(ema.safetensors does not match its SHA-256\)")],
)
def test_a_chosen_checkpoint_that_is_lost_while_samples_are_made(one_task, harm, fault):
    six = one_task.paths.checkpoints / "clips-000000006"
    one_task(1, 2, "7-0", published=False)
    (part,) = one_task.paths.samples.glob("*/*")
    kept, bytes_before = shutil.copytree(six, six.with_name("kept")), part.read_bytes()
    harm(six)
    with pytest.raises(UserError, match=f"clips-000000006 {fault}, and this launch has begun to sample from it; put"):
        one_task(0, 2, "7-1")
    shutil.rmtree(six, ignore_errors=True)
    kept.rename(six)
    assert one_task(0, 2, "7-1").complete
    assert part.read_bytes() == bytes_before
    assert names(one_task.paths) == SIX


def test_what_an_earlier_launch_began_from_a_checkpoint_that_is_gone_is_told_and_left(one_task, capsys):
    one_task(0, 2, "7-0", published=False)
    (part,) = one_task.paths.samples.glob("*/*")
    shutil.rmtree(one_task.paths.checkpoints / "clips-000000006")
    assert one_task(0, 1, "8-0").summary.endswith("from clips-000000012")
    assert f"clips-000000006 is gone; the samples from it stay unfinished: {part.parent}\n" in capsys.readouterr().out
    assert names(one_task.paths) == [("clips-000000006", "part-00000.h5"), *TWELVE]


def test_a_chosen_checkpoint_that_is_gone_before_anything_was_sampled(one_task, capsys):
    too_few = made_up.config(**CHANGES, sample__num_steps=1)
    with pytest.raises(UserError, match="num_steps"):
        one_task(0, 1, "7-0", published=False, run=too_few)
    shutil.rmtree(one_task.paths.checkpoints / "clips-000000006")
    with pytest.raises(UserError, match="num_steps"):
        one_task(0, 1, "7-1", run=too_few)
    chosen = [files.read_json(path)["checkpoint"] for path in sorted(one_task.paths.sampling.iterdir())]
    assert chosen == ["clips-000000006", "clips-000000012"]
    assert "clips-000000006 is gone, and no set from it is half made" in capsys.readouterr().out


def test_a_part_that_was_removed_is_made_again_from_its_checkpoint(one_task):
    one_task(0, 1, "7-0", published=False)
    (folder,) = one_task.paths.samples.iterdir()
    part, mark = part_path(folder, 1), (folder / "samples.json").stat().st_mtime_ns
    before = list(SampleSet.open(folder).part(1))
    part.write_bytes(part.read_bytes()[:500])
    with pytest.raises(UserError, match=rf"{part} is damaged .* remove it and run the stage sample again"):
        list(SampleSet.open(folder).clips())
    part.unlink()
    with pytest.raises(UserError, match=f"{part} is missing; run the stage sample again"):
        list(SampleSet.open(folder).clips())
    assert one_task(0, 1, "8-0").summary.endswith("from clips-000000006")
    again = list(SampleSet.open(folder).part(1))
    assert all(name == other and np.array_equal(a, b) for (name, a), (other, b) in zip(before, again, strict=True))
    assert (folder / "samples.json").stat().st_mtime_ns == mark
    assert names(one_task.paths) == SIX


def test_a_task_whose_checkpoint_went_while_it_sampled_goes_on_with_what_another_chose(one_task, monkeypatch, capsys):
    fill, told = Generator.fill, []

    def fill_while_it_goes(self, *arguments):
        if not told:
            told.append("")
            shutil.rmtree(one_task.paths.checkpoints / "clips-000000012")
            told.append(one_task(1, 2, "7-0").summary)
        fill(self, *arguments)

    monkeypatch.setattr(Generator, "fill", fill_while_it_goes)
    assert one_task(0, 2, "7-0").summary.endswith("from clips-000000006")
    assert told[1] == "1 part(s) are still with other tasks"
    assert "another task has found clips-000000012 gone and chosen another" in capsys.readouterr().out
    assert names(one_task.paths) == [*SIX, TWELVE[0]]


def test_a_checkpoint_that_goes_between_the_choice_and_the_loading(one_task, monkeypatch):
    load, gone = Checkpoint.load, []

    def load_too_late(self, *arguments):
        if not gone:
            gone.append(self.path)
            shutil.rmtree(self.path)
        return load(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "load", load_too_late)
        assert one_task(0, 1, "7-0").summary.endswith("from clips-000000006")
    assert [path.name for path in gone] == ["clips-000000012"]
    assert names(one_task.paths) == SIX


def test_a_launch_is_a_job_with_its_restarts_or_an_array_and_another_on_another_cluster(monkeypatch):
    own = f"{os.getpid()}-0"
    assert launch_of(Task(job_id=own)) == launch_of(Task(rank=1, world_size=2, job_id=own))
    assert launch_of(Task()) != launch_of(Task())  # two calls without a launcher
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "here")
    array = [launch_of(Task(job_id=job)) for job in ("41_0-0", "41_1-0", "41_1-3")]
    assert len(set(array)) == 1
    lone = [launch_of(Task(job_id=job)) for job in ("42-0", "42-1")]
    assert len({*array, *lone}) == 2
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "there")
    assert launch_of(Task(job_id="42-0")) not in lone
