"""The numbered files in a lease's folder: read the highest, create the next, sweep away what is older."""

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc import exclusive, files
from vdt_hpc.errors import UserError
from vdt_hpc.files import Json
from vdt_hpc.lease.owner import Owner

LEASE = re.compile(r"(\d{6,})\.json")
TEMPORARY = re.compile(r"\.(\d{6,})\..*\.tmp")


@dataclass(frozen=True)
class Entry:
    """One lease file, as it was found."""

    number: int
    owner: Owner
    released: bool
    """Whether the owner gave it back."""
    touched_ns: int
    """Time of its last change, in nanoseconds by the file server's clock: comparable with itself alone."""


def path_of(folder: Path, number: int) -> Path:
    """Where the lease of that number lies."""
    return folder / f"{number:06d}.json"


def highest_number(folder: Path) -> int:
    """The highest number in the folder; 0 when there is none, or no folder.

    Raises:
        UserError: the folder cannot be read.
    """
    return max((int(match[1]) for name in _names(folder) if (match := LEASE.fullmatch(name))), default=0)


def read_highest(folder: Path) -> Entry | None:
    """The current lease; None when there has been none.

    Raises:
        FileNotFoundError: it vanished while being looked at: the lease is changing hands.
        UserError: the folder cannot be read.
    """
    number = highest_number(folder)
    if number == 0:
        return None
    with _explained(folder), path_of(folder, number).open("rb") as file:
        # Opening makes an NFS client ask the server; a mere stat may be answered from a cache.
        touched_ns = os.fstat(file.fileno()).st_mtime_ns
        content = _parse(file.read())
    return Entry(number, Owner.from_json(content), content.get("released") is True, touched_ns)


def create(folder: Path, number: int, owner: Owner) -> bool:
    """Create the lease of that number, whole or not at all. Of all who try, one gets True.

    Raises:
        UserError: the folder cannot be written, the disk is full, or the file system has no hard links.
    """
    temporary = folder / f".{number:06d}.{owner.token}.tmp"
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(_text(owner, released=False), encoding="utf-8")
            files.flush(temporary)
            return _link(temporary, path_of(folder, number))
        except FileNotFoundError:
            return False  # swept away by whoever has won this number or a higher one
        finally:
            with contextlib.suppress(OSError):  # what stays is swept away by the next winner
                temporary.unlink()


def mark_released(folder: Path, number: int, owner: Owner) -> None:
    """Say in our own file that we have given the lease back.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    files.write_text(path_of(folder, number), _text(owner, released=True))


def sweep(folder: Path, number: int) -> None:
    """Remove leases below `number`, and the temporary files of every contest up to `number`, which are over."""
    for name in _names(folder):
        lease, temporary = LEASE.fullmatch(name), TEMPORARY.fullmatch(name)
        if (lease and int(lease[1]) < number) or (temporary and int(temporary[1]) <= number):
            with contextlib.suppress(OSError):  # vanished, or another user's: it stays, and means nothing
                (folder / name).unlink()


def _names(folder: Path) -> list[str]:
    with _explained(folder):
        try:
            return [entry.name for entry in os.scandir(folder)]
        except FileNotFoundError:
            return []


def _parse(text: bytes) -> Json:
    """The JSON object in `text`; an empty one when there is none."""
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _text(owner: Owner, released: bool) -> str:
    return files.json_text({"released": released, **owner.to_json()})


def _link(temporary: Path, path: Path) -> bool:
    try:
        return exclusive.link(temporary, path)
    except OSError as error:
        if error.errno in exclusive.NO_HARD_LINKS:
            raise UserError(
                f"the file system of {path.parent} has no hard links, which keep two jobs from writing one run; "
                "choose a root on another one"
            ) from None
        raise


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (PermissionError, NotADirectoryError) as error:
        raise UserError(f"cannot use {folder}: {error.strerror}; choose a root that you may write to") from None
    except OSError as error:
        if error.errno == errno.ESTALE:  # how NFS says that an opened file is gone
            raise FileNotFoundError(error.errno, error.strerror) from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full: cannot write {folder}; free some space and run this again") from None
        if error.errno == errno.EROFS:
            raise UserError(f"cannot use {folder}: {error.strerror}; choose a root that you may write to") from None
        raise
