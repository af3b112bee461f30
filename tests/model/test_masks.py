from collections import Counter

import numpy as np
import pytest
import torch

from tests.model.given import given_frames
from vdt_hpc.experiment.sample_config import SampleConfig
from vdt_hpc.experiment.tasks_config import TASKS
from vdt_hpc.model import masks
from vdt_hpc.model.noise import stream

CELLS = (8, 8)
CONDITIONAL = tuple(task for task in TASKS if task != "unconditional")


def drawn(task, count, num_frames=16, cells=CELLS, given_frames=2):
    """Masks of `count` examples, (count, T, 1, h or 1, w or 1)."""
    rngs = (stream(0, 4, position) for position in range(count))
    made = (masks.for_training(task, rng, num_frames, cells, given_frames) for rng in rngs)
    return np.stack([masks.of_latent(mask) for mask in made])


def test_one_means_generate_and_zero_means_given():
    assert masks.prediction(5, 2).tolist() == [0, 0, 1, 1, 1]
    assert masks.backward(5, 2).tolist() == [1, 1, 1, 0, 0]
    assert masks.image_to_video(4, 2).tolist() == [1, 1, 0, 1]
    assert masks.interpolation(7, 3).tolist() == [0, 1, 1, 0, 1, 1, 0]
    assert masks.interpolation(7, 3, offset=2).tolist() == [1, 1, 0, 1, 1, 0, 1]
    assert masks.unconditional(3).tolist() == [1, 1, 1]
    covered = np.array([[True, False], [False, False]])
    completion = masks.completion(covered, 4, start=1, end=2)
    assert completion[:, 0].tolist() == [[[0, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]


@pytest.mark.parametrize("given_frames", [0, 5, 6])
@pytest.mark.parametrize("task", [masks.prediction, masks.backward])
def test_a_prediction_needs_something_given_and_something_to_generate(task, given_frames):
    with pytest.raises(AssertionError):
        task(5, given_frames)


@pytest.mark.parametrize("mask", [[0.0, 0.0], [0.5, 1.0], [-1.0, 1.0]])
def test_other_masks_are_refused(mask):
    with pytest.raises(AssertionError):
        masks.checked(np.array(mask, np.float32))


@pytest.mark.parametrize("span", [(2, 2), (4, 0), (0, 4), (-1, 0)])
def test_a_completion_needs_a_span(span):
    with pytest.raises(AssertionError):
        masks.completion(np.eye(2, dtype=bool), 4, *span)


def test_a_completion_of_everything_is_refused():
    with pytest.raises(AssertionError):
        masks.completion(np.ones((2, 2), bool), 4, 0, 0)


@pytest.mark.parametrize(("num_frames", "cells"), [(2, (2, 1)), (2, (4, 4)), (3, (2, 2)), (5, (4, 4)), (30, (16, 16))])
@pytest.mark.parametrize("task", CONDITIONAL)
def test_nothing_drawn_is_empty_or_full(task, num_frames, cells):
    made = drawn(task, 500, num_frames, cells, given_frames=1)
    assert set(np.unique(made)) == {0.0, 1.0}
    share = made.reshape(len(made), -1).mean(1)
    assert share.min() > 0 and share.max() < 1


def test_the_given_frame_of_image_to_video_is_uniform():
    made = drawn("image_to_video", 4000, num_frames=8).reshape(4000, 8)
    assert ((made == 0).sum(1) == 1).all()
    assert np.bincount((made == 0).argmax(1), minlength=8) == pytest.approx(np.full(8, 500), abs=90)


def test_interpolation_is_regular_as_often_as_not():
    num_frames = 30
    regular = {
        masks.interpolation(num_frames, every, offset).tobytes(): (every, offset)
        for every in range(2, masks.EVERY_MAX_FRAMES + 1)
        for offset in range(every)
    }
    made = drawn("interpolation", 4000, num_frames).reshape(4000, num_frames)
    places = [regular.get(mask.tobytes()) for mask in made]
    found = [place for place in places if place is not None]
    assert len(found) == pytest.approx(2000, abs=130)  # a random mask is almost never regular
    assert Counter(every for every, _ in found) == pytest.approx(dict.fromkeys(range(2, 9), len(found) / 7), abs=75)
    of_eight = Counter(offset for every, offset in found if every == 8)
    assert set(of_eight) == set(range(8))
    assert max(of_eight.values()) < 3 * min(of_eight.values())


def test_frames_given_one_by_one_follow_the_stated_probability():
    num_frames = 30
    made = drawn("interpolation", 4000, num_frames).reshape(4000, num_frames)
    regular = {
        masks.interpolation(num_frames, every, offset).tobytes() for every in range(2, 9) for offset in range(every)
    }
    random = np.stack([mask for mask in made if mask.tobytes() not in regular])
    possible = 1 - 0.8**num_frames  # given that not all are generated
    expected = (0.8 - 0.8**num_frames) / possible
    assert random.mean() == pytest.approx(expected, abs=0.005)
    assert random.mean(0) == pytest.approx(np.full(num_frames, expected), abs=0.04)


@pytest.mark.parametrize(("num_frames", "margin"), [(30, 3), (8, 3), (5, 2), (3, 1), (2, 0)])
def test_completion_generates_half_of_the_cells_over_a_span(num_frames, margin):
    made = drawn("completion", 2000, num_frames, cells=(16, 16))[:, :, 0]
    inside = made.any((2, 3))
    starts, ends = inside.argmax(1), inside[:, ::-1].argmax(1)
    for margins in (starts, ends):
        frequencies = np.bincount(margins, minlength=margin + 1) / 2000
        assert frequencies == pytest.approx(np.full(margin + 1, 1 / (margin + 1)), abs=0.06)
    assert (inside.sum(1) == num_frames - starts - ends).all()  # no gap, and end 0 leaves a span too
    blocks = made.max(1)
    assert all((mask[seen] == block).all() for mask, seen, block in zip(made, inside, blocks, strict=True))
    assert blocks.mean((1, 2)).max() <= 0.5
    assert blocks.mean() == pytest.approx(0.5, abs=0.01)


def test_masks_depend_on_their_stream_alone_and_differ_between_examples():
    for task in ("image_to_video", "interpolation", "completion"):
        one, again = drawn(task, 50), drawn(task, 50)
        assert np.array_equal(one, again)
        assert len({mask.tobytes() for mask in one}) > 10


def test_samples_are_given_what_the_configuration_says():
    sample = SampleConfig(tasks=TASKS, given_frames=2, given_frame=3, interpolation_every=4)
    expected = {
        "prediction": (0, 1), "backward": (8, 9), "image_to_video": (3,), "interpolation": (0, 4, 8),
        "completion": (0, 9), "unconditional": (),
    }  # fmt: skip
    for task, given in expected.items():
        for clip in range(20):
            mask = masks.for_sampling(task, sample, 10, CELLS, clip)
            assert given_frames(mask) == given == sample.given(task, 10)


def test_blocks_of_sampled_completions_depend_on_seed_and_clip_alone():
    sample = SampleConfig()

    def blocks(clip, **changes):
        mask = masks.for_sampling("completion", sample.model_copy(update=changes), 6, CELLS, clip)
        assert all(np.array_equal(mask[1], mask[frame]) for frame in range(1, 5))
        return mask.tobytes()

    assert blocks(3) == blocks(3, num_steps=10, sampler="ddpm")
    assert len({blocks(clip, seed=seed) for clip in range(5) for seed in range(2)}) == 10


def test_given_frames_are_the_wholly_given_ones():
    mask = np.zeros((4, 1, 2, 2), np.float32)
    mask[1, 0, 0, 1] = 1
    mask[2] = 1
    assert given_frames(mask) == (0, 3)


def test_masks_of_one_batch_are_spread_over_space_where_one_varies():
    covered = np.array([[True, False], [False, True]])
    flat, varying = masks.prediction(3, 1), masks.completion(covered, 3, 1, 0)
    assert masks.batch([flat, flat]).shape == (2, 3, 1, 1, 1)
    stacked = masks.batch([flat, varying])
    assert stacked.shape == (2, 3, 1, 2, 2)
    assert torch.equal(stacked[0], torch.from_numpy(flat)[:, None, None, None].expand(3, 1, 2, 2))
    assert torch.equal(stacked[1], torch.from_numpy(varying))


def test_mix_takes_each_value_from_one_side_exactly():
    given, generated = torch.randn(2, 4, 3, 2, 2), torch.full((2, 4, 3, 2, 2), float("nan"))
    generated[0, 2:] = 7
    generated[1] = 8
    mixed = masks.mix(given, generated, masks.batch([masks.prediction(4, 2), masks.unconditional(4)]))
    assert torch.equal(mixed[0, :2], given[0, :2])
    assert (mixed[0, 2:] == 7).all()
    assert (mixed[1] == 8).all()


def test_masks_may_vary_over_space():
    mask = np.ones((4, 1, 2, 2), np.float32)
    mask[1, 0, 0, 1] = 0
    stacked = masks.batch([masks.checked(mask)])
    assert stacked.shape == (1, 4, 1, 2, 2)
    mixed = masks.mix(torch.zeros(1, 4, 3, 2, 2), torch.ones(1, 4, 3, 2, 2), stacked)
    assert mixed.sum() == 4 * 3 * 2 * 2 - 3
