"""The stage `sample` on a trained tiny run; the autoencoder is a stand-in that shows latents as pixels."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from jobs import sample, sampling, train
from tests.jobs import made_up
from vdt_hpc.dist import Task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.signature import signature
from vdt_hpc.store import checkpoint
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.samples import SampleSet, part_path

HOME = Path(__file__).parents[2]
TEST_CLIPS = 9
CHANGES = {"train__total_clips": 12, "train__checkpoint_every_clips": 6}
RUN = made_up.config(**CHANGES)


def show(decoder, latents, frames_per_batch):
    """Latents (N, C, h, w) as frames (N, 8 h, 8 w, 3): one channel, each cell a square."""
    levels = ((latents[:, :1] * 10 + 128).clamp(0, 255)).round().byte()
    return levels.expand(-1, 3, -1, -1).repeat_interleave(8, 2).repeat_interleave(8, 3).permute(0, 2, 3, 1).numpy()


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(
        sampling.autoencoder, "load", lambda config, device, precision: SimpleNamespace(sha256="made-up")
    )
    monkeypatch.setattr(sampling.autoencoder, "decode", show)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    where = made_up.partition(root)
    made_up.write_latents(RUN, where, {"train": 4, "val": 2, "test": TEST_CLIPS})
    assert train.run(RUN, where).complete
    return root


@pytest.fixture
def trained(trained_once, tmp_path):
    """A root with latents and checkpoints, but no samples."""
    root = tmp_path / "root"
    shutil.copytree(trained_once, root)
    return made_up.partition(root)


def run_with(**changes):
    return made_up.config(**CHANGES, **{"sample__num_clips": TEST_CLIPS, **changes})


def sets(where, run):
    return {found.info.task: found for found in SampleSet.find_all(made_up.paths_for(run, where).samples)[0]}


def pixels(sample_set):
    return np.stack([samples for _, samples in sample_set.clips()])


def test_every_task_is_sampled_for_the_first_test_clips(trained):
    run = run_with(sample__num_trajectories=2)
    result = sample.run(run, trained)
    assert result.complete
    found = sets(trained, run)
    assert set(found) == {"prediction", "unconditional"}
    for task, sample_set in found.items():
        assert pixels(sample_set).shape == (TEST_CLIPS, 2, 5, 32, 32, 3)
        assert [name for name, _ in sample_set.clips()] == [f"test-{clip}" for clip in range(TEST_CLIPS)]
        assert sample_set.info.given_frames == (2 if task == "prediction" else 0)
        assert sample_set.info.checkpoint == "clips-000000012"
        assert sample_set.info.run_signature == signature(run)
        assert str(sample_set.folder) in result.outputs.values()


def test_given_frames_are_the_test_clips_decoded(trained):
    run = run_with()
    sample.run(run, trained)
    latents = LatentSet.open(run, made_up.paths_for(run, trained)).split("test")
    predicted = pixels(sets(trained, run)["prediction"])[:, 0]
    for clip in range(TEST_CLIPS):
        mean = torch.from_numpy(latents.moments(clip)[0].astype(np.float32))
        truth = show(None, mean, 1)
        assert np.array_equal(predicted[clip, :2], truth[:2])
        assert not np.array_equal(predicted[clip, 2:], truth[2:5])
    free = pixels(sets(trained, run)["unconditional"])[:, 0]
    assert not any(np.array_equal(free[clip, 0], predicted[clip, 0]) for clip in range(TEST_CLIPS))


def test_samples_do_not_depend_on_batch_size_or_ranks(trained, trained_once, tmp_path, monkeypatch):
    run = run_with()
    sample.run(run, trained)
    reference = {task: pixels(found) for task, found in sets(trained, run).items()}
    shutil.copytree(trained_once, tmp_path / "other")
    other, changed = made_up.partition(tmp_path / "other"), run_with(sample__clips_per_batch=5)
    for rank in (1, 0):
        monkeypatch.setattr(sample, "current_task", lambda rank=rank: Task(rank, 2, rank))
        assert not sets(other, changed)
        sample.run(changed, other)
    for task, found in sets(other, changed).items():
        assert np.abs(pixels(found).astype(int) - reference[task]).max() <= 1  # rounding may cross a level


def test_some_clips_get_more_samples_and_the_others_stay_as_they_are(trained, trained_once, tmp_path):
    run = run_with(sample__num_trajectories=2, sample__num_repeated_clips=3, sample__tasks=["prediction"])
    assert "prediction: 9 clips x 1, 3 of them x 2" in sample.run(run, trained).summary
    found = sets(trained, run)["prediction"]
    shapes = [len(samples) for _, samples in found.clips()]
    assert shapes == [2, 1, 1, 1, 2, 1, 1, 1, 2]
    shutil.copytree(trained_once, tmp_path / "all")
    every = run_with(sample__num_trajectories=2, sample__tasks=["prediction"])
    sample.run(every, made_up.partition(tmp_path / "all"))
    reference = pixels(sets(made_up.partition(tmp_path / "all"), every)["prediction"])
    for index, (_, samples) in enumerate(found.clips()):
        assert np.abs(samples.astype(int) - reference[index, : len(samples)]).max() <= 1  # rounding may cross a level
    assert [pace.num_samples for pace in found.paces()] == [10, 2]
    assert all(pace.seconds > 0 and pace.device.startswith("CPU, ") for pace in found.paces())


def test_further_ways_to_sample_are_sets_beside(trained):
    also = [{"sampler": "dpm-solver++", "num_steps": 3}, {"sampler": "ddim", "num_steps": 4}]
    run = run_with(sample__also=also, sample__tasks=["prediction"])
    result = sample.run(run, trained)
    assert "prediction: 9 clips x 1, each in 3 ways" in result.summary
    found = SampleSet.find_all(made_up.paths_for(run, trained).samples)[0]
    steps = run.sample.num_steps
    assert {(one.info.sampler, one.info.num_steps) for one in found} == {
        ("ddim", steps), ("dpm-solver++", 3), ("ddim", 4),
    }  # fmt: skip
    assert set(result.outputs) == {
        f"prediction ddim {steps} samples", "prediction dpm-solver++ 3 samples", "prediction ddim 4 samples",
    }  # fmt: skip
    alone = run_with(sample__num_steps=4, sample__tasks=["prediction"])
    assert "already sampled" in sample.run(alone, trained).summary
    with pytest.raises(UserError, match="num_steps 700: DDIM would start at time"):
        sample.run(run_with(sample__also=[{"sampler": "ddim", "num_steps": 700}]), trained)


def test_a_stop_keeps_finished_parts_and_the_next_run_goes_on(trained, monkeypatch):
    run = run_with(sample__tasks=["prediction"])
    whole = sampling.write_part

    def write_then_signal(folder, part, *rest):
        whole(folder, part, *rest)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(sampling, "write_part", write_then_signal)
    result = sample.run(run, trained)
    assert not result.complete
    assert "SIGTERM" in result.summary
    (folder,) = made_up.paths_for(run, trained).samples.iterdir()
    assert [path.name for path in folder.iterdir()] == ["part-00000.h5"]
    made = part_path(folder, 0).stat().st_mtime_ns
    monkeypatch.undo()
    monkeypatch.setattr(
        sampling.autoencoder, "load", lambda config, device, precision: SimpleNamespace(sha256="made-up")
    )
    monkeypatch.setattr(sampling.autoencoder, "decode", show)
    assert sample.run(run, trained).complete
    assert part_path(folder, 0).stat().st_mtime_ns == made
    assert pixels(sets(trained, run)["prediction"]).shape[0] == TEST_CLIPS


def test_fewer_test_clips_than_asked_for_is_said(trained, capsys):
    run = run_with(sample__num_clips=100, sample__tasks=["unconditional"])
    sample.run(run, trained)
    assert f"{TEST_CLIPS} test clips are all there are" in capsys.readouterr().out


def test_a_second_run_answers_at_once_and_without_torch(trained):
    sample.run(run_with(), trained)
    code = (
        "import sys; from jobs import sample; from tests.jobs import made_up; "
        f"run = made_up.config(**{CHANGES}, sample__num_clips={TEST_CLIPS}); "
        f"result = sample.run(run, made_up.partition({trained.root!r})); "
        "assert result.complete and 'already' in result.summary; "
        "assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=HOME, check=True)


def test_a_damaged_newest_checkpoint_gives_samples_of_the_one_before(trained, capsys):
    run = run_with(sample__tasks=["prediction"])
    paths = made_up.paths_for(run, trained)
    file = paths.checkpoints / "clips-000000012" / "ema.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    sample.run(run, trained)
    assert sets(trained, run)["prediction"].info.checkpoint == "clips-000000006"
    assert "skipping the damaged checkpoint" in capsys.readouterr().out


def test_what_is_missing_is_one_line(trained, monkeypatch):
    paths = made_up.paths_for(RUN, trained)
    monkeypatch.setattr(
        sampling.autoencoder, "load", lambda config, device, precision: SimpleNamespace(sha256="another")
    )
    with pytest.raises(UserError, match="not made by the weights"):
        sample.run(run_with(), trained)
    with pytest.raises(UserError, match="num_steps"):
        sample.run(run_with(sample__num_steps=1), trained)
    for folder in checkpoint.folders(paths.checkpoints):
        shutil.rmtree(folder)
    with pytest.raises(UserError, match="run the stage train first"):
        sample.run(run_with(), trained)
