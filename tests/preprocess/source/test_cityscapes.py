"""The index of a Cityscapes tree: every fault by name. Frames: centre square, Lanczos, uint8."""

import shutil

import numpy as np
import pytest
from made_frames import write_sequence

from preprocess.source.opening import source_fingerprint
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import CITYSCAPES_TREE


@pytest.fixture
def opened(bench, tmp_path):
    return lambda **data: bench(data=data).index()


@pytest.fixture
def folder(tmp_path):
    write_sequence(tmp_path / "frames", "train", "aachen", 3, range(30))
    return tmp_path / "frames"


def named(folder, frame, sequence=3, city="aachen", split="train"):
    return folder / CITYSCAPES_TREE / split / city / f"{city}_{sequence:06d}_{frame:06d}_leftImg8bit.png"


def test_clips_are_runs_of_consecutive_numbers(folder, opened):
    write_sequence(folder, "train", "aachen", 0, range(275, 305))
    write_sequence(folder, "train", "aachen", 0, range(557, 587))
    write_sequence(folder, "test", "bonn", 0, range(1, 31))
    source = opened()
    names = ["aachen_000000_000275", "aachen_000000_000557", "aachen_000003_000000", "bonn_000000_000001"]
    assert [clip.clip_id for clip in source.clips] == names
    assert [clip.split for clip in source.clips] == ["train", "train", "train", "test"]
    frames = source.clips[1].read()
    assert frames.shape == (30, 24, 48, 3)
    assert frames.dtype == np.uint8
    assert frames[:, 0, 0, 1].tolist() == [(frame * 7) % 256 for frame in range(557, 587)]


def damage_gap(folder):
    named(folder, 14).unlink()


def damage_end(folder):
    named(folder, 29).unlink()


def damage_long(folder):
    write_sequence(folder, "train", "aachen", 3, [30])


def damage_two_clips_in_one(folder):
    write_sequence(folder, "train", "aachen", 3, range(30, 60))


def damage_doubled_number(folder):
    named(folder, 5).with_name("aachen_3_5_leftImg8bit.png").write_bytes(named(folder, 5).read_bytes())


def damage_two_splits(folder):
    write_sequence(folder, "test", "aachen", 3, range(30))


def damage_name(folder):
    named(folder, 0).with_name("frame0.png").write_bytes(b"x")


def damage_city(folder):
    named(folder, 0).with_name("bonn_000000_000000_leftImg8bit.png").write_bytes(b"x")


def damage_split(folder):
    write_sequence(folder, "demo", "bonn", 0, range(30))


def damage_empty(folder):
    named(folder, 7).write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_gap, r"train/aachen sequence 000003: frames 000000 to 000013 are 14, not 30 \(gap: 000014 missing\)"),
        (damage_gap, r"frames 000015 to 000029 are 15, not 30"),
        (damage_end, r"frames 000000 to 000028 are 29, not 30"),
        (damage_long, r"frames 000000 to 000030 are 31, not 30"),
        (damage_two_clips_in_one, r"frames 000000 to 000059 are 60, not 30"),
        (damage_doubled_number, r"aachen_3_5_leftImg8bit.png is the same frame as .*aachen_000003_000005"),
        (damage_two_splits, r"aachen_000003_000000_leftImg8bit.png is the same frame as "),
        (damage_name, r"frame0.png is not named <split>/<city>"),
        (damage_city, r"train/aachen/bonn_.* is named after another city"),
        (damage_split, r"demo/bonn/.* lies in no split \(train, val, test\)"),
        (damage_empty, r"aachen_000003_000007_leftImg8bit.png: empty"),
    ],
)
def test_every_fault_is_named(folder, opened, damage, said):
    damage(folder)
    with pytest.raises(UserError, match=said):
        opened()


def test_many_faults_are_one_line(folder, opened):
    for sequence in range(10, 35):
        write_sequence(folder, "train", "aachen", sequence, range(3))
    with pytest.raises(UserError) as refused:
        opened()
    text = str(refused.value)
    assert text.startswith("25 faults in the frames of ")
    assert text.count("are 3, not 30") == 20
    assert "and 5 more" in text
    assert "\n" not in text


def test_missing_folders(bench, tmp_path):
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no frames: .*nowhere does not exist; name .*data.root"):
        bench(data={"root": nowhere}).index()
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(UserError, match=r"the folder .*leftImg8bit_sequence does not exist; name .*data.root"):
        bench(data={"root": nowhere}).index()
    with pytest.raises(UserError, match="run the stage streets again"):
        bench(streets={"seed": 1}).index()


def test_no_training_clip(opened, tmp_path):
    write_sequence(tmp_path / "frames", "test", "bonn", 0, range(30))
    with pytest.raises(UserError, match="no training clip in the 1 of "):
        opened()


def test_other_files_are_reported(folder, opened):
    (folder / CITYSCAPES_TREE / "licence.txt").write_text("x")
    (folder / CITYSCAPES_TREE / ".unfinished.png.tmp").write_text("x")
    assert opened().left_out == ("files under leftImg8bit_sequence that are no PNG: 1",)


def test_the_fingerprint_sees_names_and_sizes(folder, opened, bench):
    before = opened().fingerprint
    assert source_fingerprint(bench().config, bench().paths) == before
    named(folder, 4).write_bytes(named(folder, 4).read_bytes() + b"x")
    assert source_fingerprint(bench().config, bench().paths) != before
    shutil.rmtree(folder)
    assert source_fingerprint(bench().config, bench().paths) is None


def test_a_broken_frame_is_named_when_read(folder, opened):
    content = named(folder, 9).read_bytes()
    named(folder, 9).write_bytes(content[:-60])
    clip = opened().clips[0]
    with pytest.raises(UserError, match=r"cannot read the frame .*000009_leftImg8bit.png"):
        clip.read()


def test_a_frame_that_changes_after_it_was_indexed_is_named(folder, opened):
    clip = opened().clips[0]
    named(folder, 9).write_bytes(named(folder, 8).read_bytes() + b"x")
    with pytest.raises(UserError, match=r"000009_leftImg8bit.png: it has .* bytes, but had .* when the frames were"):
        clip.read()
