"""Measuring holds the frames of one clip, however many there are."""

import tracemalloc

import pytest

from tests.results.conftest import make_run, smooth_clips

FRAMES, SIDE_PX, TRAJECTORIES = 12, 64, 3
CLIP_BYTES = FRAMES * SIDE_PX * SIDE_PX * 3


@pytest.fixture
def peak_of(made_up, tmp_path, random_autoencoder):
    """The most memory that Python and numpy had at once while a number of clips was measured."""

    def measure(num_clips):
        run = make_run(tmp_path / str(num_clips), smooth_clips(num_clips, FRAMES, SIDE_PX), random_autoencoder)
        run.write_samples(run.frames[:, None].repeat(TRAJECTORIES, axis=1) ^ 8)
        run.frames = None
        tracemalloc.start()
        try:
            run.evaluate(metrics=("psnr", "fvd"))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure


def test_memory_does_not_grow_with_the_number_of_clips(peak_of, tiny_i3d):
    tiny_i3d()
    peak_of(2)  # what is imported and loaded once
    few, many = peak_of(4), peak_of(32)
    assert few > CLIP_BYTES * TRAJECTORIES  # so that the frames are among what is counted
    assert many - few < CLIP_BYTES * TRAJECTORIES
