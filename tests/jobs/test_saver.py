"""Old checkpoints that cannot be removed, or are gone already: training goes on, and says so once."""

import multiprocessing
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
import torch

from jobs.saver import Saver
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.experiment.config import TrainConfig
from vdt_hpc.store import checkpoint
from vdt_hpc.store import checkpoint_writing as writing
from vdt_hpc.store.checkpoint import Provenance

FORK = multiprocessing.get_context("fork")
NOBODY = 65534


def saver(folder, keep=1):
    state = {part: {"x": torch.zeros(3)} for part in checkpoint.PARTS}
    config = TrainConfig(total_clips=1000, keep_checkpoints=keep)
    return Saver(folder, state, ProcessGroup(Task(), folder), config, f"{keep:06d}", lambda: None)


def save(one, clips_seen):
    one.start(Provenance(clips_seen, "signature", "latents", "commit", "here", 1))
    one.finish()


def clips(folder):
    return [checkpoint.clips_in_name(path) for path in checkpoint.folders(folder)]


def with_a_protected_checkpoint(folder):
    """As a user without root's powers: writes what is there after each save."""
    if os.getuid() == 0:
        os.setuid(NOBODY)
    one = saver(folder)
    save(one, 100)
    protected = folder / checkpoint.folder_name(100)
    protected.chmod(0o555)
    for clips_seen in (200, 300):
        save(one, clips_seen)
        print(clips(folder))
    protected.chmod(0o755)
    (protected / "notes").mkdir()
    (protected / "notes" / "a").touch()
    (protected / "notes").chmod(0o555)
    save(one, 400)
    print(clips(folder))
    one.close()


@pytest.fixture
def open_folder():
    """A folder that every user may write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def test_what_cannot_be_removed_is_said_once_and_training_goes_on(open_folder, capfd):
    child = FORK.Process(target=with_a_protected_checkpoint, args=(open_folder,))
    child.start()
    child.join()
    said = capfd.readouterr()
    assert child.exitcode == 0, said.err
    old, left = open_folder / "clips-000000100", open_folder / ".clips-000000100.removed"
    assert said.out.splitlines() == [
        f"the old checkpoint {old} is protected: it stays until its folder can be written, or you remove it",
        "[200, 100]",
        "[300, 100]",
        f"of the old checkpoint {old} something cannot be removed: remove {left} by hand",
        "[400]",
    ]


def test_an_old_checkpoint_that_somebody_else_removes_at_that_moment_is_no_fault(tmp_path, monkeypatch, capsys):
    one, whole = saver(tmp_path), os.replace

    def replace(path, name):
        if name.suffix == ".removed":
            shutil.rmtree(path)
        whole(path, name)

    save(one, 100)
    monkeypatch.setattr(writing.os, "replace", replace)
    save(one, 200)
    one.close()
    assert clips(tmp_path) == [200]
    assert capsys.readouterr().out == ""


def remove_and_die(folder):
    """Retention, killed after the second file of an old checkpoint."""
    whole, removed = os.unlink, []

    def unlink(*arguments, **options):
        whole(*arguments, **options)
        removed.append(arguments)
        if len(removed) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    os.unlink = unlink
    writing.retain(folder, 2)


def test_a_kill_while_an_old_checkpoint_is_removed_leaves_whole_ones(tmp_path):
    one = saver(tmp_path, keep=9)
    for clips_seen in (100, 200, 300):
        save(one, clips_seen)
    one.close()
    child = FORK.Process(target=remove_and_die, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert clips(tmp_path) == [300, 200]
    assert [path.name for path in tmp_path.glob(".*")] == [".clips-000000100.removed"]
    writing.fence(tmp_path)
    assert not list(tmp_path.glob(".*"))
