"""Videos of films: what is decoded again is what was drawn."""

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from results import film, film_frames, videos
from results.film_frames import FilmFrames
from tests.results.conftest import smooth_clips
from vdt_hpc import pictures
from vdt_hpc.experiment.tasks_config import TASKS

ORANGE = np.array([0xE6, 0x9F, 0x00])


@pytest.fixture
def make(made_up):
    def make(task="prediction", size=16, num_frames=12):
        truth = smooth_clips(2, num_frames, size)
        info = made_up.info(task, num_frames=num_frames)
        samples = np.clip(truth.astype(int) + 20, 0, 255).astype(np.uint8)
        for clip, true in zip(samples, truth, strict=True):
            clip[list(info.given)] = true[list(info.given)]
        blocks = film._blocks(made_up.config, info, np.array([0, 3])) if task == "completion" else None
        return film.Film(info, ("a", "b"), truth, samples, 17.0, blocks)

    return make


def is_orange(pixel):
    return np.abs(pixel.astype(int) - ORANGE).max() < 8


def test_the_mp4_decodes_to_what_was_drawn(make, tmp_path):
    frames = FilmFrames(make())
    path = tmp_path / "new" / "film.mp4"
    videos.write_mp4(frames, 17.0, path)
    with av.open(path) as container:
        (stream,) = container.streams.video
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 17
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == 12
    assert decoded[0].shape == (frames.height, frames.width, 3)
    assert frames.height % 2 == frames.width % 2 == 0
    for found, drawn in zip(decoded, frames, strict=True):
        assert np.abs(found.astype(int) - drawn).mean() < 4
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_gif_has_every_frame_at_its_rate(make, tmp_path):
    one = make()
    frames = FilmFrames(one)
    videos.write_gif(frames, 17.0, tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (12, (frames.width, frames.height), 0)
        durations, pixels = [], []
        for frame in ImageSequence.Iterator(gif):
            durations.append(frame.info["duration"])
            pixels.append(np.asarray(frame.convert("RGB")))
    assert durations == videos.durations_ms(12, 17.0)
    for found, drawn in zip(pixels, frames, strict=True):
        assert np.abs(found.astype(int) - drawn).mean() < 8


@pytest.mark.parametrize(("rate_hz", "total"), [(17.0, 1760), (10.0, 3000), (29.97, 1000), (120.0, 600)])
def test_durations_keep_the_rate_as_far_as_browsers_play_it(rate_hz, total):
    durations = videos.durations_ms(30, rate_hz)
    assert sum(durations) == total and min(durations) >= 20 and all(one % 10 == 0 for one in durations)


def test_the_difference_is_signed_around_grey():
    truth = np.array([100, 100, 100, 0, 250], np.uint8)
    sample = np.array([100, 110, 90, 255, 0], np.uint8)
    assert film_frames.difference(truth, sample).tolist() == [128, 148, 108, 255, 0]


def test_small_frames_are_magnified_by_a_whole_factor_and_large_ones_reduced(make):
    frames = FilmFrames(make())
    left, top, right, bottom = frames.box(1, 1)
    assert (right - left, bottom - top) == (128, 128)
    tile = frames.frame(9)[top:bottom, left:right]
    assert np.array_equal(tile, make().samples[1, 9].repeat(8, 0).repeat(8, 1))
    left, _, right, _ = FilmFrames(make(size=300)).box(0, 0)
    assert right - left == 256


@pytest.mark.parametrize("task", TASKS)
def test_given_frames_have_an_orange_border_in_every_task(make, task):
    one = make(task)
    frames = FilmFrames(one)
    assert frames.rows == (("truth", "sample", "difference") if one.info.given else ("real clip", "sample"))
    for number, drawn in enumerate(frames):
        for row in range(len(frames.rows)):
            left, top, right, _ = frames.box(row, 0)
            assert is_orange(drawn[top - 2, (left + right) // 2]) == (number in one.info.given)
    strip = pictures.film_strip(one.strip())
    shown = set(pictures.strip_indices(12, one.info.given)) & set(one.info.given)
    assert len(strip.axes[0].patches) == 4 * len(shown)
    assert len(strip.axes[0].collections) == (4 * (12 - len(one.info.given)) if task == "completion" else 0)


def test_a_completion_shows_the_blocks_that_were_given_when_it_was_sampled(make, made_up):
    from vdt_hpc.model import masks

    one = make("completion")
    mask = masks.for_sampling("completion", made_up.config.sample, 12, (2, 2), 3)
    assert np.array_equal(one.blocks[1], mask[5, 0] == masks.GIVEN)
    assert one.blocks.any() and not one.blocks.all()


def test_the_outline_runs_around_given_blocks_inside_of_them():
    blocks = np.array([[True, True], [False, False]])
    edges = pictures.outline(blocks, inset=0.1)
    assert len(edges) == 6
    ends = np.array(edges)
    assert ends[..., 0].min() == pytest.approx(0.05) and ends[..., 0].max() == pytest.approx(0.95)
    assert ends[..., 1].min() == pytest.approx(0.05) and ends[..., 1].max() == pytest.approx(0.45)
    assert pictures.outline(np.zeros((2, 2), bool)) == []


def test_a_sample_that_is_longer_than_its_truth_goes_on_alone(make):
    one = make()
    short = film.Film(one.info, one.clip_ids, one.truth[:, :5], one.samples)
    frames = FilmFrames(short)
    drawn = frames.frame(8)
    colours = [len(np.unique(drawn[top:bottom, left:right].reshape(-1, 3), axis=0)) for left, top, right, bottom in
               (frames.box(row, 0) for row in range(3))]  # fmt: skip
    assert colours[0] == colours[2] == 1 and colours[1] > 1


@pytest.mark.parametrize(
    ("data", "rate_hz"),
    [
        ({}, 17.0),
        ({"source": "videos"}, None),
        ({"source": "videos", "frame_rate_hz": 8}, 8.0),
        ({"source": "clips", "filmed_rate_hz": 25}, 25.0),
        ({"source": "clips", "filmed_rate_hz": 24, "frame_rate_hz": 12}, 12.0),
    ],
)
def test_the_frame_rate_is_the_datas(made_up, data, rate_hz):
    assert film.rate_hz(made_up.config.data.model_copy(update=data)) == rate_hz
