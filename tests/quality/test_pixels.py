"""Nothing but checked 8-bit pixels reaches a metric."""

import numpy as np
import pytest

from vdt_hpc.quality.pixels import Pixels, check_pair


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((2, 8, 8, 3), -0.98), r"clips lie in \[-0.98, -0.98\]; expected floats in \[0, 1\]"),
        (np.linspace(-1, 1, 192).reshape(8, 8, 3), r"\[-1, 1\]"),
        (np.full((8, 8, 3), 255.0), r"\[255, 255\]"),
        (np.full((8, 8, 3), 1.0 + 1e-9), r"expected floats in \[0, 1\]"),
        (np.full((8, 8, 3), np.nan), "192 values that are NaN or infinite"),
        (np.full((8, 8, 3), np.inf), "192 values that are NaN or infinite"),
        (np.zeros((8, 8, 3), np.int64), "clips are int64; expected uint8"),
        (np.zeros((8, 8, 3), bool), "clips are bool"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\); expected \(..., H, W, 3\)"),
        (np.zeros((8, 3), np.uint8), r"shape \(8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
    ],
)
def test_what_is_not_a_picture_is_refused_by_name(array, said):
    with pytest.raises(ValueError, match=said):
        Pixels.of(array, "clips")


def test_the_constructor_itself_takes_8_bits_alone():
    with pytest.raises(ValueError, match="float32; expected uint8"):
        Pixels(np.zeros((8, 8, 3), np.float32))


def test_floats_are_rounded_to_the_nearest_level():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for dtype in (np.float16, np.float32, np.float64):
        assert np.array_equal(Pixels.of((levels / 255).astype(dtype)).values, levels)
    assert Pixels.of(np.full((1, 1, 3), 0.999 / 255)).values.max() == 1  # not truncated
    assert Pixels.of(levels).values is levels


def test_clips_of_different_shapes_are_not_compared():
    one, other = Pixels(np.zeros((4, 8, 8, 3), np.uint8)), Pixels(np.zeros((5, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="cannot be compared"):
        check_pair(one, other)
    with pytest.raises(ValueError, match="T > 0"):
        check_pair(one.frames(()), one.frames(()))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_clip_without_frames_is_refused_where_it_is_measured(dtype):
    clip = Pixels.of(np.zeros((0, 8, 8, 3), dtype))
    with pytest.raises(ValueError, match=r"T > 0, got \(0, 8, 8, 3\)"):
        check_pair(clip, clip)


def test_frames_are_chosen_by_their_indices():
    values = np.arange(4, dtype=np.uint8).repeat(2 * 2 * 3).reshape(4, 2, 2, 3)
    assert np.array_equal(Pixels(values).frames((3, 1)).values, values[[3, 1]])
