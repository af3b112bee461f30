"""Finishing files: whole or not there, whatever happens on the way."""

import errno
import os
import subprocess
import sys

import pytest

from vdt_hpc import files
from vdt_hpc.errors import UserError


def test_a_finished_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "deep" / "x.txt"
    files.write_text(path, "one")
    files.write_text(path, "two")
    assert path.read_text() == "two"
    assert [child.name for child in path.parent.iterdir()] == ["x.txt"]


def test_a_failure_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "x.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.finish(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_small_file_takes_away_what_killed_writers_of_it_left(tmp_path):
    for name in (".x.json.gpu1-7.tmp", ".x.json.gpu1.example.org-8.tmp", ".y.json.gpu1-7.tmp"):
        (tmp_path / name).write_text("half")
    files.write_json(tmp_path / "x.json", {"a": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".y.json.gpu1-7.tmp", "x.json"]


def test_many_writers_of_one_small_file_all_finish(tmp_path):
    program = (
        "import pathlib, sys; from vdt_hpc import files\n"
        "for n in range(300): files.write_text(pathlib.Path(sys.argv[1]), sys.argv[2] * 5000)"
    )
    path = tmp_path / "x.txt"
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), letter]) for letter in "abcd"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0, 0]
    assert path.read_text() in {letter * 5000 for letter in "abcd"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.finish_folder(tmp_path / "f") as temporary:
        (temporary / "x").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_replaces_another_whole_or_not_at_all(tmp_path):
    for text in ("one", "two"):
        with files.finish_folder(tmp_path / "f", replace=True) as temporary:
            (temporary / text).write_text(text)
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["two"]
    with pytest.raises(RuntimeError), files.finish_folder(tmp_path / "f", replace=True):
        raise RuntimeError
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_folder_comes_back_if_the_rename_fails(tmp_path, monkeypatch):
    with files.finish_folder(tmp_path / "f") as temporary:
        (temporary / "x").write_text("old")
    rename = os.replace

    def fail(source, target):
        if str(source).endswith(".tmp"):
            raise OSError(errno.ENOSPC, "full")
        rename(source, target)

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError, match="the disk is full"), files.finish_folder(tmp_path / "f", replace=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f" / "x").read_text() == "old"


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_damaged_json_is_said(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="damaged"):
        files.read_json(path)


def test_sha256(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_is_one_line_and_the_old_file_stays(small_disk):
    path = small_disk / "x.txt"
    files.write_text(path, "old")
    with pytest.raises(UserError, match="the disk is full"):
        files.write_text(path, "x" * 2_000_000)
    assert path.read_text() == "old"
    assert list(small_disk.iterdir()) == [path]
