"""A folder of one process that is gone after it: removed at the end of a block, else by the next who wants one.

FOLDER/<token>.json   who uses it, written before the folder is made and removed after it
FOLDER/<token>/       the folder
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.lease.owner import Owner

ABANDONED_S = 24 * 3600.0
"""Of an owner that cannot be asked about, as one of another machine: after that many seconds it is taken for gone."""


@dataclass
class Scratch:
    """A folder that goes with its block, unless `kept` is set."""

    path: Path
    kept: bool = False


@contextlib.contextmanager
def scratch(folder: Path, where: str) -> Iterator[Scratch]:
    """A new folder below `folder` for a block; those that killed processes have left there are removed first.

    Args:
        folder: holds nothing else; made, and removed when it is empty.
        where: name of the partition, for messages.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    is_new = not folder.parent.exists()
    _remove_abandoned(folder)
    owner = Owner.this_process(where)
    place = Scratch(folder / owner.token)
    files.write_json(_note(place.path), owner.to_json())
    try:
        with files.explained(place.path):
            place.path.mkdir()
        yield place
    finally:
        if not place.kept:
            _remove(place.path)
            _remove_empty(folder)
            if is_new:
                _remove_empty(folder.parent)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _remove_abandoned(folder: Path) -> None:
    for note in sorted(folder.glob("*.json")):
        try:
            owner = Owner.from_json(files.read_json(note))
            age_s = time.time() - note.stat().st_mtime
        except (UserError, FileNotFoundError):  # its owner is just removing it
            continue
        path = note.with_suffix("")
        if owner.is_gone() or age_s > ABANDONED_S:
            _remove(path)
        else:
            print(f"{path} is left alone: it may still be used by {owner.describe()}", flush=True)


def _remove(path: Path) -> None:
    """Remove a folder and then its note; the folder loses its name first, so that nobody writes into it any more."""
    nameless = path.with_name(f".{path.name}")
    try:
        with contextlib.suppress(FileNotFoundError):
            path.rename(nameless)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(nameless)
        _note(path).unlink(missing_ok=True)
    except OSError as error:  # another user's, or NFS keeps files that a process still holds: the next one tries again
        print(f"{nameless} could not be removed: {error.strerror}", file=sys.stderr, flush=True)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else's is there
        folder.rmdir()
