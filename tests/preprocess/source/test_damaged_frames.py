"""Damaged frames: each is named before anything is decoded, as far as headers tell; its clip can be left out."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from made_frames import write_sequence
from PIL import Image

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import CITYSCAPES_TREE


@pytest.fixture
def folder(tmp_path):
    for sequence in range(2):
        write_sequence(tmp_path / "frames", "train", "aachen", sequence, range(30))
    write_sequence(tmp_path / "frames", "test", "bonn", 0, range(30))
    return tmp_path / "frames"


@pytest.fixture
def opened(bench):
    return lambda **data: bench(data=data).index()


def frame(folder, number=7, sequence=1):
    return folder / CITYSCAPES_TREE / "train" / "aachen" / f"aachen_{sequence:06d}_{number:06d}_leftImg8bit.png"


def other_size(path):
    Image.new("RGB", (20, 10)).save(path)


def palette(path):
    Image.new("P", (48, 24)).save(path)


def sixteen_bits(path):
    Image.fromarray(np.zeros((24, 48), np.uint16)).save(path)


def grey(path):
    Image.new("L", (48, 24)).save(path)


def alpha(path):
    Image.new("RGBA", (48, 24)).save(path)


DAMAGES = [
    (lambda path: path.write_bytes(b""), "empty"),
    (lambda path: path.write_text("no picture at all"), "no PNG or JPEG"),
    (lambda path: path.write_bytes(path.read_bytes()[:20]), "cut short in its header"),
    (other_size, "has 20 x 10 px, the others 48 x 24"),
    (palette, "a palette instead of RGB"),
    (sixteen_bits, "16 bits per channel instead of 8"),
    (grey, "grey instead of RGB"),
    (alpha, "has an alpha channel"),
    (os.unlink, r"gap: 000007 missing"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_a_damaged_frame_is_named_before_anything_is_decoded(folder, opened, damage, said):
    damage(frame(folder))
    with pytest.raises(UserError, match=said) as refused:
        opened()
    assert "\n" not in str(refused.value)
    assert "data.skip_bad_clips=true" in str(refused.value)
    if damage is not os.unlink:
        assert frame(folder).name in str(refused.value)
    skipping = opened(skip_bad_clips=True)
    assert [clip.clip_id for clip in skipping.clips] == ["aachen_000000_000000", "bonn_000000_000000"]
    assert any(fault.text in skipping.not_used for fault in skipping.faults)


def test_a_clip_with_one_frame_too_many_and_a_doubled_frame(folder, opened):
    write_sequence(folder, "train", "aachen", 1, [30])
    write_sequence(folder, "train", "aachen", 2, range(30))
    frame(folder, 5, 0).with_name("aachen_0_5_leftImg8bit.png").write_bytes(frame(folder, 5, 0).read_bytes())
    with pytest.raises(UserError, match=r"2 faults .*are 31, not 30.* is the same frame as"):
        opened()
    skipping = opened(skip_bad_clips=True)
    assert [clip.clip_id for clip in skipping.clips] == ["aachen_000002_000000", "bonn_000000_000000"]


def as_nobody(function):
    """Call as a user who is not root, whom a folder's mode does not stop; returns what comes out."""
    if os.geteuid():
        return function()
    os.seteuid(65534)
    try:
        return function()
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_read_is_named(bench):
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o777)
        for sequence, city in enumerate(["aachen", "bochum"]):
            write_sequence(Path(home), "train", city, sequence, range(30))
        closed = Path(home) / CITYSCAPES_TREE / "train" / "aachen"
        made = bench(root=Path(home) / "runs", data={"root": home})
        closed.chmod(0)
        with pytest.raises(UserError, match=f"cannot look into the folder {closed}: Permission denied"):
            as_nobody(made.index)
        closed.chmod(0o755)
        assert len(as_nobody(made.index).clips) == 2  # the fault was not kept
        file = next(closed.iterdir())
        file.chmod(0)
        again = bench(root=Path(home) / "others", data={"root": home})
        with pytest.raises(UserError, match=rf"{file.name} cannot be read \(Permission denied\)"):
            as_nobody(again.index)


def test_a_link_to_nothing_and_a_circle(folder, opened):
    (folder / CITYSCAPES_TREE / "train" / "aachen" / "again").symlink_to(folder / CITYSCAPES_TREE)
    frame(folder).unlink()
    frame(folder).symlink_to(folder / "nowhere.png")
    with pytest.raises(UserError, match=r"cannot look at .*000007_leftImg8bit.png: No such file"):
        opened()


def test_the_report_names_everything(folder, bench):
    for number in range(25):
        palette(frame(folder, number, 0))
    made = bench()
    with pytest.raises(UserError, match=r"25 faults .* and 5 more; .*all are listed in ") as refused:
        made.index()
    text = Path(str(refused.value).split("all are listed in ")[1].split(")")[0]).read_text()
    assert text.count("a palette instead of RGB") == 25
    assert "| train | aachen | 1 | 30 |" in text
    assert "2 clips (train 1, val 0, test 1) in 90 files" in text
