"""The files of a source, wherever they lie: listed without being opened, read whole or in part, named in complaints.

Reading is safe from many threads and processes at once: an object here holds no handle, and can be sent to a worker.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


class Unreadable(Exception):
    """A file of a source cannot be read; the message says why, and goes on where the file's name ends."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a source."""

    name: str
    """Path below the source's top, with forward slashes."""
    num_bytes: int
    place: tuple[int, ...] = ()
    """In an archive: where it lies in it; see the archive."""


@dataclass(frozen=True)
class Fault:
    """Something in a source that keeps it, or a clip of it, from being used."""

    kind: str
    """One of `KINDS`."""
    text: str
    """What is wrong, by name."""
    file: str = ""
    """Name of the file whose content is at fault, if there is one."""

    def __str__(self) -> str:
        return self.text


KINDS = ("unreadable", "gap", "wrong length", "duplicate", "foreign size", "misnamed", "forbidden name")
"""Kinds of faults, in the order in which a report shows them."""


@dataclass(frozen=True)
class Listing:
    """All files of a source."""

    files: tuple[SourceFile, ...]
    """Sorted by name; hidden ones (unfinished ones) are not among them."""
    faults: tuple[Fault, ...]
    """What could not be listed, or must not be read."""


class FileStore(ABC):
    """A folder or an archive."""

    path: Path

    @abstractmethod
    def listing(self, top: str) -> Listing:
        """The files below the folder ``top`` of the source (empty: all); their names include it.

        Raises:
            UserError: there is no such folder, or nothing can be listed.
        """

    @abstractmethod
    def read(self, file: SourceFile) -> bytes:
        """A file's bytes.

        Raises:
            Unreadable: it is gone, damaged, or not what was listed.
        """

    @abstractmethod
    def read_start(self, file: SourceFile, num_bytes: int) -> bytes:
        """A file's first bytes, fewer if it is shorter.

        Raises:
            Unreadable: as ``read``, as far as that shows.
        """

    @abstractmethod
    def stamp(self, listing: Listing, watched: Iterable[str] = ()) -> str:
        """Changes when files of a listing go or others come, and when a watched one is written anew.

        Of a folder, its folders and the watched files alone are looked at: to ask after every file takes minutes on a
        shared file system.
        """

    def where(self, file: SourceFile) -> str:
        """The file as a person finds it."""
        return f"{self.path}/{file.name}"


def fingerprint_of(files: Iterable[SourceFile]) -> str:
    """SHA-256 (64 hex digits) over the sorted names and sizes: the same for a folder and for an archive of it."""
    lines = sorted(f"{file.name}\t{file.num_bytes}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def is_hidden(name: str) -> bool:
    """True for files whose name, or whose folder's, begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


def members(names: Iterable[tuple[str, SourceFile]], top: str, faults: list[Fault]) -> Iterator[SourceFile]:
    """The members of an archive below a folder, by clean names; what leads out of it or is there twice is a fault.

    Args:
        names: each member's name as it stands in the archive, and the member.
        top: the folder; empty: all.
        faults: gets what is wrong.
    """
    seen: set[str] = set()
    for written, member in names:
        path = PurePosixPath(written)
        if path.is_absolute() or ".." in path.parts or "\\" in written or "\0" in written:
            faults.append(Fault("forbidden name", f"the member {written!r} has a name that leads out of the archive"))
            continue
        name = str(path)
        if is_hidden(name) or (top and path.parts[0] != top):
            continue
        if name in seen:
            faults.append(Fault("duplicate", f"{name} is in the archive twice"))
            continue
        seen.add(name)
        yield SourceFile(name, member.num_bytes, member.place)
