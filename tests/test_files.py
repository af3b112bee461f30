"""Finishing files: whole or not there, whatever happens on the way."""

import errno
import os
import socket
import subprocess
import sys
import time

import pytest

from vdt_hpc import files, unfinished
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


def killed_writer_of(path):
    """The temporary file of a process that was killed while it wrote `path`."""
    program = (
        "import os, pathlib, signal, sys; from vdt_hpc import files\n"
        "with files.finish(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    (left,) = path.parent.glob(f".{path.name}.*.tmp")
    return left


def test_what_a_killed_writer_left_goes_with_the_next_small_file(tmp_path):
    left = killed_writer_of(tmp_path / "part-00000.h5")
    assert left.exists()
    files.write_json(tmp_path / "x.json", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_what_a_killed_writer_of_another_machine_left_goes_when_it_is_old(tmp_path):
    left = killed_writer_of(tmp_path / "part-00000.h5")
    (tmp_path / ".somebodys-12-34.tmp").touch()
    os.utime(tmp_path / ".somebodys-12-34.tmp", (0, 0))
    folder = tmp_path / left.name.replace("part-00000.h5", "export").replace(socket.gethostname(), "gpu1.example.org")
    elsewhere = tmp_path / left.name.replace(socket.gethostname(), "gpu1.example.org")
    left.rename(elsewhere)
    folder.mkdir()
    (folder / "x").touch()
    unfinished.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([elsewhere, folder, tmp_path / ".somebodys-12-34.tmp"])
    for path in (elsewhere, folder):
        os.utime(path, (time.time() - 3600,) * 2)
    unfinished.sweep(tmp_path)
    assert elsewhere not in tmp_path.iterdir() and folder in tmp_path.iterdir()  # something in the folder is new
    os.utime(folder / "x", (time.time() - 3600,) * 2)
    unfinished.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".somebodys-12-34.tmp"]


def test_what_is_being_written_stays_and_so_do_other_names(tmp_path):
    (tmp_path / ".clips-000000300.000002.tmp").mkdir()
    with files.finish(tmp_path / "slow.txt") as temporary:
        temporary.write_text("half")
        os.utime(temporary, (0, 0))
        program = "import pathlib, sys; from vdt_hpc import files; files.write_text(pathlib.Path(sys.argv[1]), '')"
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "x.txt")], check=True)
    assert {path.name for path in tmp_path.iterdir()} == {".clips-000000300.000002.tmp", "slow.txt", "x.txt"}


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


def test_a_place_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path, why in (
        (tmp_path / "file" / "x.txt", "File exists"),
        (tmp_path / "file" / "deep" / "x.txt", "Not a directory"),
        (tmp_path / "folder", "Is a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(UserError, match=f"{why}; choose another place or name"):
            files.write_text(path, "text")


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
