"""What zip and tar have in common: one file, read at random places without ever being unpacked."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from preprocess.source.files import FileStore, Listing, SourceFile, Unreadable
from vdt_hpc.errors import UserError


@dataclass(frozen=True)
class Archive(FileStore):
    """One file that holds others.

    Args:
        path: of the archive.
        version: what told it from other files of that name when it was found; see ``version_of``.
    """

    path: Path
    version: str

    def stamp(self, listing: Listing, watched: Iterable[str] = ()) -> str:
        """See ``FileStore.stamp``."""
        return version_of(self.path)

    def where(self, file: SourceFile) -> str:
        """See ``FileStore.where``."""
        return f"{file.name} in {self.path}"

    def bytes_at(self, start: int, num_bytes: int) -> bytes:
        """A piece of the archive.

        Raises:
            Unreadable: the archive ends before, was changed, or cannot be read.
        """
        try:
            content = os.pread(_handle(self.path, self.version), num_bytes, start)
        except OSError as error:
            raise Unreadable(f"cannot be read in the archive ({error.strerror})") from None
        if len(content) < num_bytes:
            raise Unreadable("lies beyond the end of the archive")
        return content


def version_of(path: Path) -> str:
    """Inode, size and time of change of a file.

    Raises:
        UserError: it cannot be looked at.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


@functools.lru_cache(maxsize=4)
def _handle(path: Path, version: str) -> int:
    """The process's one handle of an archive, for reading at given places, which needs no lock.

    It stays open as long as the process lives; a version that is no longer there is never read.
    """
    if version_of(path) != version:
        raise Unreadable("is in an archive that was changed after it was indexed")
    return os.open(path, os.O_RDONLY)
