"""A folder of video files, cut into clips of 30 frames; what is left over is told."""

import av
import numpy as np
import pytest

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.data_config import DataConfig


def write_video(path, num_frames, size_px=(64, 48)):
    """A film that shows its frames' tens left and ones right; key frames every 12 frames, B-frames between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"bf": "2", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = *size_px, "yuv420p"
        stream.bit_rate = 4_000_000
        for number in range(num_frames):
            pixels = np.full((size_px[1], size_px[0], 3), 20 + 20 * (number % 10), np.uint8)
            pixels[:, : size_px[0] // 2] = 20 + 20 * (number // 10 % 10)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "frames"


@pytest.fixture
def opened(bench, folder):
    return lambda **data: bench(data={"source": "videos", **data}).index()


def numbers(clip):
    frames = clip.read().astype(float)
    tens, ones = (frames[:, 20:28, columns].mean(axis=(1, 2, 3)) for columns in (slice(8, 24), slice(40, 56)))
    return [10 * round((ten - 20) / 20) + round((one - 20) / 20) for ten, one in zip(tens, ones, strict=True)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_clips_follow_one_another(folder, opened, suffix):
    write_video(folder / f"drive.{suffix}", 100)
    source = opened()
    assert [clip.split for clip in source.clips] == ["train", "val", "test"]
    for index, clip in enumerate(source.clips):
        assert clip.clip_id == f"drive.{suffix}_{30 * index:06d}"
        assert numbers(clip) == list(range(30 * index, 30 * index + 30))
    assert source.left_out == (f"drive.{suffix}: the last 10 of 100 frames do not fill a clip",)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_another_rate_takes_the_nearest_frames(folder, opened, suffix):
    write_video(folder / f"drive.{suffix}", 200)  # at 25 Hz
    halved = opened(frame_rate_hz=12.5)
    assert [numbers(clip)[:3] for clip in halved.clips] == [[0, 2, 4], [60, 62, 64], [20, 22, 24]]  # the last of 120
    assert halved.left_out == (f"drive.{suffix}: the last 10 of 100 frames do not fill a clip",)
    doubled = opened(frame_rate_hz=50.0).clips[0]
    assert len(numbers(doubled)) == 30
    assert set(numbers(doubled)) <= set(range(16))


def test_squares(folder, opened):
    write_video(folder / "drive.mp4", 90)
    squares = opened().clips[0].prepared(DataConfig(frame_height_px=32))
    assert squares.shape == (30, 32, 32, 3)
    assert squares.dtype == np.uint8


def test_the_last_clips_of_each_video_are_held_out(folder, opened):
    write_video(folder / "a.mp4", 150, (32, 32))
    write_video(folder / "b.mp4", 60, (32, 32))
    source = opened(test_clips_per_video=2, val_clips_per_video=1)
    splits = {clip.clip_id: clip.split for clip in source.clips}
    assert splits == {
        "a.mp4_000000": "train", "a.mp4_000030": "train", "a.mp4_000060": "val", "a.mp4_000090": "test",
        "a.mp4_000120": "test", "b.mp4_000000": "test", "b.mp4_000030": "test",
    }  # fmt: skip


def test_folders_are_splits(folder, opened):
    write_video(folder / "train" / "a.mp4", 65, (32, 32))
    write_video(folder / "test" / "a.mp4", 30, (32, 32))
    write_video(folder / "b.mp4", 30, (32, 32))
    source = opened()
    names = {clip.clip_id: clip.split for clip in source.clips}
    assert names == {"train_a.mp4_000000": "train", "train_a.mp4_000030": "train", "test_a.mp4_000000": "test"}
    assert set(source.left_out) == {
        "b.mp4: lies outside the folders train, val, test",
        "train/a.mp4: the last 5 of 65 frames do not fill a clip",
    }


def test_a_short_video_is_told(folder, opened):
    write_video(folder / "a.mp4", 90, (32, 32))
    write_video(folder / "short.mp4", 12, (32, 32))
    (folder / "notes.txt").write_text("x")
    left_out = opened().left_out
    assert "short.mp4: the last 12 of 12 frames do not fill a clip" in left_out
    assert any(line.startswith("notes.txt: no video file") for line in left_out)


def test_what_is_no_video_is_named(folder, opened):
    folder.mkdir()
    with pytest.raises(UserError, match="holds no files"):
        opened()
    (folder / "notes.txt").write_text("no film")
    with pytest.raises(UserError, match="no video file"):
        opened()
    (folder / "fake.mp4").write_bytes(b"not a film" * 100)
    with pytest.raises(UserError, match=r"cannot open .*fake.mp4 as a video"):
        opened()


def test_a_missing_folder_is_named(opened):
    with pytest.raises(UserError, match=r"no frames: .*frames does not exist; name .*data.root"):
        opened()


def test_a_cut_off_video_is_named(folder, opened):
    write_video(folder / "a.mkv", 90)
    source = opened()
    film = folder / "a.mkv"
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 3])
    with pytest.raises(UserError, match=r"a.mkv"):
        source.clips[2].read()
