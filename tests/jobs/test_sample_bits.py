"""The bytes of sample sets, decoded by the demo's autoencoder: what they depend on, and what they do not."""

import shutil

import numpy as np
import pytest
import torch

from jobs import sample, train
from tests.jobs import made_up
from vdt_hpc.dist import Task
from vdt_hpc.errors import UserError
from vdt_hpc.model import autoencoder, vdt
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.samples import SampleSet

TEST_CLIPS = 9
CHANGES = {
    "train__total_clips": 12, "train__checkpoint_every_clips": 12, "train__num_strips": 0,
    "autoencoder": {"source": "configs/autoencoder/streets", "latent_channels": 4},
    "tasks": {"prediction": 0.5, "unconditional": 0.2, "backward": 0.3, "prefix_max_frames": 3},
    "sample__num_clips": TEST_CLIPS,
}  # fmt: skip


def config(**changes):
    return made_up.config(**{**CHANGES, "sample__tasks": ["prediction"], **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    where, run = made_up.partition(root), config()
    identity = autoencoder.load(run.autoencoder, torch.device("cpu")).identity()
    made_up.write_latents(run, where, {"train": 4, "val": 2, "test": TEST_CLIPS}, identity=identity)
    assert train.run(run, where).complete
    return root


@pytest.fixture
def drawn(trained, tmp_path, monkeypatch):
    """Samples from nothing with some settings; gives the pixels of each task's set."""

    def draw(world=1, **changes):
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(trained, root)
        where, run = made_up.partition(root), config(**changes)
        for rank in reversed(range(world)):
            with monkeypatch.context() as patch:
                patch.setattr(sample, "current_task", lambda rank=rank: Task(rank, world, rank))
                sample.run(run, where)
        found = SampleSet.find_all(made_up.paths_for(run, where).samples)[0]
        return {one.info.task: np.stack([samples for _, samples in one.clips()]) for one in found}

    return draw


def test_bytes_do_not_depend_on_batch_or_ranks(drawn):
    tasks = {"sample__tasks": ["prediction", "unconditional"], "sample__num_trajectories": 2}
    whole = drawn(sample__clips_per_batch=4, **tasks)
    assert {samples.shape for samples in whole.values()} == {(TEST_CLIPS, 2, 5, 32, 32, 3)}
    for world, batch in ((1, 1), (1, 7), (2, 4)):
        other = drawn(world, sample__clips_per_batch=batch, **tasks)
        assert set(other) == set(whole)
        assert all(np.array_equal(other[task], whole[task]) for task in whole), (world, batch)


def test_bfloat16_decoding_is_another_set_of_nearly_the_same_pixels(drawn):
    exact, rough = (drawn(sample__decode_precision=name)["prediction"].astype(int) for name in ("fp32", "bf16"))
    difference = np.abs(exact - rough)
    assert 0 < difference.mean() < 2


def out_of_memory_beyond(most, whole):
    """A method that fails on more than some clips or frames."""

    def limited(model, batch, *rest):
        if len(batch) > most:
            raise torch.OutOfMemoryError("no memory left")
        return whole(model, batch, *rest)

    return limited


def test_fewer_clips_at_once_where_memory_does_not_suffice(drawn, monkeypatch, capsys):
    whole = drawn(sample__clips_per_batch=8)["prediction"]
    capsys.readouterr()
    monkeypatch.setattr(vdt.VDT, "forward", out_of_memory_beyond(3, vdt.VDT.forward))
    assert np.array_equal(drawn(sample__clips_per_batch=8)["prediction"], whole)
    said = [line for line in capsys.readouterr().out.splitlines() if "memory" in line]
    assert said == [
        "out of memory with 8 clips at once: going on with 4 at once; set sample.clips_per_batch: 4",
        "out of memory with 4 clips at once: going on with 2 at once; set sample.clips_per_batch: 2",
    ]


def test_fewer_frames_at_once_where_memory_does_not_suffice(drawn, monkeypatch, capsys):
    whole = drawn()["prediction"].astype(int)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        kind = type(autoencoder.load(config().autoencoder, torch.device("cpu")).model)
        patch.setattr(kind, "decode", out_of_memory_beyond(3, kind.decode))
        halved = drawn()["prediction"]
    assert np.abs(halved - whole).max() <= 1  # a convolution over fewer frames may round otherwise
    said = [line for line in capsys.readouterr().out.splitlines() if "memory" in line]
    assert said == ["out of memory with 5 frames at once: going on with 3 at once; set sample.decode_frames: 3"]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("none left"), RuntimeError("can't allocate memory: 9 GB")])
def test_a_clip_that_does_not_fit_is_one_line(drawn, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(vdt.VDT, "forward", fail)
    with pytest.raises(UserError, match=r"^out of memory with a single clip; use a partition with more memory") as told:
        drawn()
    assert "\n" not in str(told.value)


def test_other_errors_of_the_model_are_not_hidden(drawn, monkeypatch):
    def fail(*_):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(vdt.VDT, "forward", fail)
    with pytest.raises(RuntimeError, match="a mistake"):
        drawn()


def test_long_samples_go_on_from_short_ones(drawn):
    long = {"sample__num_frames": 12, "sample__overlap_frames": 3}
    short, rolled = drawn()["prediction"], drawn(**long)["prediction"]
    assert rolled.shape[2] == 12
    # The first window is the short sample; the decoder sees other batches.
    assert np.abs(rolled[:, :, :5].astype(int) - short).max() <= 1
    assert np.array_equal(drawn(sample__clips_per_batch=7, **long)["prediction"], rolled)
    moved = np.abs(np.diff(rolled.astype(int), axis=2)).mean((0, 1, 3, 4, 5))
    assert (moved > 0).all()


def test_long_backward_samples_end_with_the_given_frames(drawn, trained):
    rolled = drawn(sample__tasks=["backward"], sample__num_frames=6)["backward"][:, 0].astype(int)
    run = config()
    latents = LatentSet.open(run, made_up.paths_for(run, made_up.partition(trained))).split("test")
    decoder = autoencoder.load(run.autoencoder, torch.device("cpu"))
    for clip in range(TEST_CLIPS):
        mean = torch.from_numpy(latents.moments(clip)[0].astype(np.float32))
        difference = np.abs(rolled[clip] - autoencoder.decode(decoder, mean, 6)).max((1, 2, 3))
        assert (difference <= 1).tolist() == [False, False, False, False, True, True]
