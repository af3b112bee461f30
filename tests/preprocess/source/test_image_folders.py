"""Folders of images, cut into clips; frame rates of folders and of films."""

import numpy as np
import pytest
from packed import to_tar, to_zip
from PIL import Image

from preprocess.source.numbering import nearest, runs
from vdt_hpc.errors import UserError


def write_film(folder, numbers, suffix="png", size_px=(16, 16)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("RGB", size_px, (2 * number % 256, 0, 0)).save(folder / f"frame{number:04d}.{suffix}")


def shown(clip):
    return (clip.read()[:, 0, 0, 0] / 2).round().astype(int).tolist()


@pytest.fixture
def opened(bench):
    def make(root=None, **data):
        named = {"root": str(root)} if root else {}
        return bench(data={"source": "clips", "frames_per_clip": 10, **named, **data}).index()

    return make


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "frames"


def test_a_film_is_cut_and_its_last_clips_are_held_out(folder, opened, tmp_path):
    write_film(folder / "drive", range(45))
    index = opened()
    assert [(clip.clip_id, clip.split) for clip in index.clips] == [
        ("drive_000000", "train"), ("drive_000010", "train"), ("drive_000020", "val"), ("drive_000030", "test"),
    ]  # fmt: skip
    assert shown(index.clips[1]) == list(range(10, 20))
    assert index.left_out == ("drive: the last 5 of 45 frames do not fill a clip",)
    for packed in (to_zip(folder, tmp_path / "a.zip"), to_tar(folder, tmp_path / "a.tar")):
        again = opened(packed)
        assert [clip.clip_id for clip in again.clips] == [clip.clip_id for clip in index.clips]
        assert again.fingerprint == index.fingerprint
        assert np.array_equal(again.clips[3].read(), index.clips[3].read())


def test_folders_are_splits_and_jpegs_are_images(folder, opened):
    write_film(folder / "train" / "a", range(10), "jpg")
    write_film(folder / "train" / "b", range(100, 110))
    write_film(folder / "test" / "a", range(10))
    write_film(folder / "elsewhere", range(10))
    (folder / "train" / "notes.txt").write_text("x")
    index = opened()
    names = {clip.clip_id: clip.split for clip in index.clips}
    assert names == {"train_a_000000": "train", "train_b_000000": "train", "test_a_000000": "test"}
    assert any(line.startswith("train/notes.txt: no image") for line in index.left_out)
    assert sum("lies outside the folders" in line for line in index.left_out) == 10
    assert index.clips[1].clip_id == "train_b_000000"
    assert shown(index.clips[1]) == list(range(100, 110))


def test_a_missing_image_is_a_fault_and_leaves_out_its_clip_alone(folder, opened):
    write_film(folder / "drive", range(50))
    (folder / "drive" / "frame0014.png").unlink()
    with pytest.raises(UserError, match=r"drive: between drive/frame0013.png and drive/frame0015.png are none"):
        opened()
    clips = opened(skip_bad_clips=True).clips
    assert [shown(clip)[0] for clip in clips] == [0, 21, 31]


def test_every_other_number_is_no_gap(folder, opened):
    write_film(folder / "drive", range(0, 80, 2))
    index = opened()
    assert len(index.clips) == 4
    assert shown(index.clips[0]) == list(range(0, 20, 2))


def test_other_faults_are_named(folder, opened):
    write_film(folder / "drive", range(30))
    (folder / "drive" / "frame5.png").write_bytes((folder / "drive" / "frame0005.png").read_bytes())
    (folder / "drive" / "title.png").write_bytes((folder / "drive" / "frame0005.png").read_bytes())
    Image.new("RGB", (8, 8)).save(folder / "drive" / "frame0025.png")
    with pytest.raises(UserError) as refused:
        opened()
    assert "drive/frame5.png is the same frame as drive/frame0005.png" in str(refused.value)
    assert "drive/title.png has no number in its name" in str(refused.value)
    assert "drive/frame0025.png has 8 x 8 px, the others 16 x 16" in str(refused.value)


def test_films_may_have_sizes_of_their_own(folder, opened):
    write_film(folder / "train" / "a", range(10), size_px=(16, 16))
    write_film(folder / "train" / "b", range(10), size_px=(32, 24))
    assert [clip.read().shape for clip in opened().clips] == [(10, 16, 16, 3), (10, 24, 32, 3)]


def test_another_rate(folder, opened):
    write_film(folder / "train" / "a", range(60))
    index = opened(filmed_rate_hz=30.0, frame_rate_hz=10.0)
    assert [shown(clip) for clip in index.clips] == [list(range(0, 30, 3)), list(range(30, 60, 3))]
    doubled = opened(filmed_rate_hz=5.0, frame_rate_hz=10.0).clips[0]
    assert shown(doubled) == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]


def test_the_nearest_frames():
    assert nearest([0.0, 0.1, 0.2, 0.3], 10) == [0, 1, 2, 3]
    assert nearest([5.0, 5.1, 5.2, 5.3, 5.4], 5) == [0, 2, 4]
    assert nearest([0.0, 0.04, 0.08, 0.12, 0.16, 0.2], 12) == [0, 2, 4]
    assert nearest([0.0], 10) == [0]


def test_runs_of_numbers():
    assert list(runs([1, 2, 3, 7, 8])) == [(1, 3), (7, 8)]
    assert list(runs([0, 5, 10, 20], step=5)) == [(0, 10), (20, 20)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source": "cityscapes", "frame_rate_hz": 10.0}, "Cityscapes' frames are taken as they are"),
        ({"source": "clips", "frame_rate_hz": 10.0}, "needs data.filmed_rate_hz"),
        ({"source": "videos", "filmed_rate_hz": 10.0}, "data.filmed_rate_hz is for clips"),
        ({"frame_width_px": 64}, "set data.crop=whole"),
    ],
)
def test_fields_that_do_not_go_together(opened, data, said):
    with pytest.raises(ValueError, match=said):
        opened(**data)
