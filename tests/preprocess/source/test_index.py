"""The kept index: used while it holds, made anew when anything changed."""

import json
import time

import pytest
from made_frames import write_sequence
from packed import to_zip

from preprocess import encode_plan
from preprocess.shards import plan_shards
from preprocess.source import image_clips, opening
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import size
from vdt_hpc.experiment.paths import CITYSCAPES_TREE
from vdt_hpc.store.frames_index import index_path, read_counts


@pytest.fixture
def folder(tmp_path):
    for sequence in range(3):
        write_sequence(tmp_path / "frames", "train", "aachen", sequence, range(30))
    return tmp_path / "frames"


@pytest.fixture
def looks(monkeypatch):
    """How often headers were looked at."""
    counted = []
    original = image_clips.frame_size
    monkeypatch.setattr(image_clips, "frame_size", lambda start: (counted.append(1), original(start))[1])
    return counted


@pytest.mark.parametrize("packed", [False, True])
def test_it_is_made_once(folder, bench, tmp_path, looks, packed):
    root = to_zip(folder, tmp_path / "frames.zip") if packed else folder
    made = bench(data={"root": str(root)})
    first = made.index()
    assert len(looks) == 90
    assert made.index() == first
    assert len(looks) == 90
    assert (made.index().clips[1].read() == first.clips[1].read()).all()


def test_a_file_that_comes_or_goes_and_another_archive_are_seen(folder, bench, tmp_path, looks):
    made = bench()
    made.index()
    write_sequence(folder, "train", "aachen", 9, range(30))
    assert len(made.index().clips) == 4
    (folder / CITYSCAPES_TREE / "train" / "aachen" / "aachen_000009_000003_leftImg8bit.png").unlink()
    with pytest.raises(UserError, match="gap: 000003 missing"):
        made.index()
    packed = to_zip(folder, tmp_path / "frames.zip")
    made = bench(data={"root": str(packed), "skip_bad_clips": True})
    assert len(made.index().clips) == 3
    time.sleep(0.01)
    write_sequence(folder, "train", "aachen", 10, range(30))
    to_zip(folder, packed)
    assert len(made.index().clips) == 4


def test_a_bad_file_that_is_mended_in_place_is_seen(folder, bench, looks):
    made = bench()
    bad = folder / CITYSCAPES_TREE / "train" / "aachen" / "aachen_000001_000003_leftImg8bit.png"
    content = bad.read_bytes()
    bad.write_bytes(b"no picture" + bytes(len(content) - 10))
    for _ in range(2):
        with pytest.raises(UserError, match="no PNG or JPEG"):
            made.index()
    assert len(looks) == 90
    with bad.open("r+b") as file:
        file.write(content)
    assert len(made.index().clips) == 3


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 1}', '{"format": 0}'])
def test_a_damaged_one_is_made_anew(folder, bench, damage):
    made = bench()
    first = made.index()
    kept = index_path(made.config, made.paths)
    kept.write_text(damage)
    assert made.index() == first
    assert json.loads(kept.read_text())["format"] == opening.FORMAT


def test_other_fields_have_their_own(folder, bench):
    made = bench()
    made.index()
    bench(data={"frame_height_px": 64}).index()
    assert len(list(made.paths.indexes.glob("*.md"))) == 1
    with pytest.raises(UserError, match="are 30, not 10"):
        bench(data={"frames_per_clip": 10}).index()
    assert len(list(made.paths.indexes.glob("*.md"))) == 2


def test_what_it_counts_is_what_the_stages_do(folder, bench):
    """Counts are what a login node foresees the encode by."""
    for sequence in range(2):
        write_sequence(folder, "test", "bonn", sequence, range(30))
    write_sequence(folder, "train", "bonn", 7, [0, 1, 3])
    made = bench(data={"skip_bad_clips": True}, autoencoder={"clips_per_shard": 2})
    index = made.index()
    counts = read_counts(made.config, made.paths)
    assert counts.num_clips == {"train": 3, "val": 0, "test": 2}
    assert (counts.num_frames, counts.num_files, counts.num_bytes) == (150, 153, index.num_bytes)
    assert counts.num_faults == len(index.faults) > 0
    plans = plan_shards(index, made.paths.latents, 2)
    assert size.num_shards(made.config, counts.num_clips) == len(plans) == 3
    assert size.shards_bytes(made.config, counts.num_clips) == encode_plan.num_bytes(made.config, plans)
