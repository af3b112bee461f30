"""A zip and a tar, read in place: the same clips as from the folder, and every way in which they can be broken."""

import io
import os
import pickle
import random
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made_frames import write_sequence
from packed import flip_byte, to_tar, to_zip

from preprocess.source import archive
from preprocess.source.files import Unreadable
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import CITYSCAPES_TREE

MEMBER = f"{CITYSCAPES_TREE}/train/aachen/aachen_000003_000004_leftImg8bit.png"


@pytest.fixture
def folder(tmp_path):
    write_sequence(tmp_path / "tree", "train", "aachen", 3, range(30))
    write_sequence(tmp_path / "tree", "test", "bonn", 0, range(30))
    (tmp_path / "tree" / "README").write_text("above the frames")
    return tmp_path / "tree"


@pytest.fixture
def opened(bench):
    return lambda root, **data: bench(data={"root": str(root), **data}).index()


def pack(folder, tmp_path, how):
    if how == "tar":
        return to_tar(folder, tmp_path / "frames.tar")
    return to_zip(folder, tmp_path / "frames.zip", zipfile.ZIP_STORED if how == "stored" else zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("how", ["deflated", "stored", "tar"])
def test_the_clips_of_the_folder(folder, opened, tmp_path, how):
    tree, packed = opened(folder), opened(pack(folder, tmp_path, how))
    assert packed.fingerprint == tree.fingerprint
    assert [(clip.clip_id, clip.split, clip.group) for clip in packed.clips] == [
        (clip.clip_id, clip.split, clip.group) for clip in tree.clips
    ]
    for one, other in zip(packed.clips, tree.clips, strict=True):
        assert np.array_equal(one.read(), other.read())


@pytest.mark.parametrize("how", ["deflated", "tar"])
def test_one_handle_for_a_process_and_many_threads(folder, opened, tmp_path, how):
    clip = pickle.loads(pickle.dumps(opened(pack(folder, tmp_path, how)).clips[0]))
    frames = clip.read()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(frames, again) for again in pool.map(lambda _: clip.read(), range(16)))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_nothing_is_unpacked(folder, opened, tmp_path):
    path = pack(folder, tmp_path, "deflated")
    before = {found for found in tmp_path.rglob("*") if "runs" not in found.parts}
    opened(path).clips[0].read()
    assert {found for found in tmp_path.rglob("*") if "runs" not in found.parts} == before


@pytest.mark.parametrize("how", ["deflated", "stored"])
def test_a_wrong_checksum_is_named(folder, opened, tmp_path, how):
    path = pack(folder, tmp_path, how)
    with zipfile.ZipFile(path) as packed:
        member = packed.getinfo(MEMBER)
    flip_byte(path, member.header_offset + 30 + len(MEMBER) + member.compress_size - 10)
    with pytest.raises(UserError, match=r"cannot read the frame .*000004_leftImg8bit.png in .*zip: it is damaged"):
        opened(path).clips[0].read()


def test_an_archive_that_is_replaced_after_it_was_indexed_is_not_read(folder, opened, tmp_path):
    path = pack(folder, tmp_path, "deflated")
    clip = opened(path).clips[0]
    archive._handle.cache_clear()  # as in another process
    pack(folder, tmp_path, "stored")
    with pytest.raises(UserError, match="it is in an archive that was changed after it was indexed"):
        clip.read()


@pytest.mark.parametrize("how", ["deflated", "stored", "tar"])
def test_a_byte_that_is_wrong_anywhere_is_never_other_pixels(folder, opened, tmp_path, how):
    path = pack(folder, tmp_path, how)
    whole, content, draw = (
        {clip.clip_id: clip.read() for clip in opened(path).clips},
        path.read_bytes(),
        random.Random(0),
    )
    refused = 0
    for _ in range(60):
        path.write_bytes(content)
        flip_byte(path, draw.randrange(len(content)))
        try:
            clips = opened(path).clips
            assert all(np.array_equal(clip.read(), whole[clip.clip_id]) for clip in clips if clip.clip_id in whole)
        except (UserError, Unreadable):
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("how", ["deflated", "tar"])
@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01, 0])
def test_a_truncated_archive_is_one_line(folder, opened, tmp_path, how, kept):
    path = pack(folder, tmp_path, how)
    os.truncate(path, int(kept * path.stat().st_size))
    try:
        index = opened(path)
    except UserError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        return
    assert how == "tar"  # its last bytes are padding; or it was cut at the end of a member, and clips are missing
    assert [clip.clip_id for clip in index.clips] == ["aachen_000003_000000", "bonn_000000_000000"]


@pytest.mark.parametrize("name", ["../outside.png", "/etc/passwd", f"{CITYSCAPES_TREE}/../../x.png"])
@pytest.mark.parametrize("how", ["deflated", "tar"])
def test_a_name_that_leads_out_is_refused_and_never_followed(folder, opened, tmp_path, how, name):
    path = pack(folder, tmp_path, how)
    if how == "tar":
        with tarfile.open(path, "a") as packed:
            member = tarfile.TarInfo(name)
            member.size = 1
            packed.addfile(member, io.BytesIO(b"x"))
    else:
        with zipfile.ZipFile(path, "a") as packed:
            packed.writestr(name, "x")
    with pytest.raises(UserError, match=r"has a name that leads out of the archive"):
        opened(path)
    skipping = opened(path, skip_bad_clips=True)
    assert len(skipping.clips) == 2
    assert any(name in line for line in skipping.not_used)


def test_a_member_twice_and_encrypted_and_strangely_packed_ones(folder, opened, tmp_path):
    path = pack(folder, tmp_path, "deflated")
    with zipfile.ZipFile(path, "a") as packed, pytest.warns(UserWarning, match="Duplicate"):
        packed.writestr(MEMBER, b"another")
    with pytest.raises(UserError, match=f"{MEMBER} is in the archive twice"):
        opened(path)
    to_zip(folder, path, zipfile.ZIP_LZMA)
    with pytest.raises(UserError, match=r"is compressed by method 14; pack the zip with deflate"):
        opened(path)
    to_zip(folder, path)
    with zipfile.ZipFile(path) as packed:
        entry = packed.getinfo(MEMBER)
    content = bytearray(path.read_bytes())
    directory = content.rindex(MEMBER.encode()) - 46
    content[directory + 8] |= 1
    path.write_bytes(bytes(content))
    assert entry.flag_bits & 1 == 0
    with pytest.raises(UserError, match=f"{MEMBER} is encrypted"):
        opened(path)


def test_links_in_a_tar_are_named(folder, opened, tmp_path):
    path = pack(folder, tmp_path, "tar")
    with tarfile.open(path, "a") as packed:
        member = tarfile.TarInfo(f"{CITYSCAPES_TREE}/train/link.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(member)
    with pytest.raises(UserError, match=r"train/link.png is no plain file"):
        opened(path)


def test_what_is_no_archive_is_one_line(opened, folder, tmp_path):
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(UserError, match=r"cannot read .*a.zip as a zip .*is it whole"):
        opened(tmp_path / "a.zip")
    (tmp_path / "a.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(UserError, match=r"cannot read .*a.tar as a tar"):
        opened(tmp_path / "a.tar")
    to_tar(folder, tmp_path / "b.tar", "w:gz")
    with pytest.raises(UserError, match=r"A compressed one cannot be read in place"):
        opened(tmp_path / "b.tar")
    (tmp_path / "a.rar").write_text("x")
    with pytest.raises(UserError, match=r"a.rar is no folder, no .zip and no .tar"):
        opened(tmp_path / "a.rar")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as packed:
        packed.writestr("other/file.txt", "x")
    with pytest.raises(UserError, match=r"empty.zip holds no files below leftImg8bit_sequence"):
        opened(tmp_path / "empty.zip")
    assert Path("/etc/passwd").exists()
