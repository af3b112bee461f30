"""Made-up clips: the same everywhere, different from one another, and in steady forward motion."""

import numpy as np
import pytest

from preprocess.street_scene import render_clip

SMALL = {"frame_width_px": 96, "frame_height_px": 48}


@pytest.fixture(scope="module")
def clips():
    return np.stack([render_clip(0, "train", index, num_frames=8, **SMALL) for index in range(6)])


def test_shape_and_range(clips):
    assert clips.shape == (6, 8, 48, 96, 3)
    assert clips.dtype == np.uint8
    assert clips.max() > 200
    assert clips.min() < 60


def test_a_clip_is_a_function_of_seed_split_and_index(clips):
    assert np.array_equal(render_clip(0, "train", 2, num_frames=8, **SMALL), clips[2])
    for other in ((1, "train", 2), (0, "test", 2), (0, "train", 3)):
        assert not np.array_equal(render_clip(*other, num_frames=8, **SMALL), clips[2])


def test_the_split_does_not_depend_on_pythons_hash():
    """The value was computed once; a change of the renderer changes it, and RENDERER must then count up."""
    frame = render_clip(3, "val", 1, num_frames=1, **SMALL)[0]
    assert abs(float(frame.mean()) - 91.055) < 0.05


def test_a_longer_clip_begins_with_the_shorter(clips):
    assert np.array_equal(render_clip(0, "train", 4, num_frames=3, **SMALL), clips[4, :3])


def test_clips_are_varied(clips):
    brightness = clips[:, 0].mean(axis=(1, 2, 3))
    assert brightness.std() > 5
    distances = [np.abs(a.astype(float) - b).mean() for i, a in enumerate(clips[:, 0]) for b in clips[:i, 0]]
    assert min(distances) > 8


def test_every_clip_moves_and_none_jumps(clips):
    steps = np.abs(np.diff(clips.astype(float), axis=1)).mean(axis=(2, 3, 4))
    assert steps.min() > 0.5
    assert (steps.max(axis=1) < 2 * steps.min(axis=1)).all()


def test_two_frames_tell_the_motion():
    """The camera moves forward: magnifying a frame around the horizon comes nearer to the next than standing still."""
    from PIL import Image

    better = 0
    for index in range(8):
        first, second = render_clip(5, "train", index, num_frames=4, frame_width_px=192, frame_height_px=96)[[0, 3]]
        errors = []
        for zoom in (1.0, 1.03, 1.06):
            width_px, height_px = 192 / zoom, 96 / zoom
            left, top = (192 - width_px) / 2, 0.47 * (96 - height_px)
            box = (left, top, left + width_px, top + height_px)
            moved = np.asarray(Image.fromarray(first).resize((192, 96), Image.Resampling.BICUBIC, box=box))
            errors.append(np.abs(moved[8:88, 16:176].astype(float) - second[8:88, 16:176]).mean())
        better += min(errors[1:]) < errors[0]
    assert better >= 5


def test_the_street_is_the_same_at_every_size():
    from PIL import Image

    large = render_clip(0, "test", 0, num_frames=1, frame_width_px=256, frame_height_px=128)[0]
    small = render_clip(0, "test", 0, num_frames=1, frame_width_px=128, frame_height_px=64)[0]
    shrunk = np.asarray(Image.fromarray(large).reduce(2))
    assert np.abs(shrunk[24:].astype(float) - small[24:]).mean() < 8
