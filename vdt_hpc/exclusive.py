"""Files that several processes may finish at once, of which the first is kept: nothing that carries its name changes.

A hard link gives a finished file its name, which must be new: the one exclusive creation that every NFS server does
atomically. Where a file system has no hard links, a look comes right before the rename.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from vdt_hpc import files, unfinished

NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
"""Numbers of the errors by which a file system says so."""


@contextlib.contextmanager
def finish(path: Path) -> Iterator[Path]:
    """As `files.finish`, but what carries the name already stays, and what the block has written is dropped.

    Whoever must know whose file it is looks at it afterwards.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    temporary = unfinished.name_for(path)
    with files.explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            files.flush(temporary)
            _name(temporary, path)
            files.flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: files.Json) -> None:
    """As `files.write_json`, but what is there stays."""
    with finish(path) as temporary:
        temporary.write_text(files.json_text(content), encoding="utf-8")
    unfinished.sweep(path.parent)


def link(written: Path, path: Path) -> bool:
    """Give a written file a second name, which must be new; whether that is so.

    Raises:
        OSError: one of `NO_HARD_LINKS`, or whatever else keeps the name from being given.
    """
    try:
        os.link(written, path)
    except OSError as error:
        if _num_names(written) == 2:
            return True  # done, though the server's answer was lost and the repeated request found the name taken
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def _name(temporary: Path, path: Path) -> None:
    """Give a finished file its name, unless that is taken."""
    try:
        link(temporary, path)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        if not path.exists():
            os.replace(temporary, path)


def _num_names(path: Path) -> int:
    with path.open("rb") as file:  # opened, so that an NFS client asks the server
        return os.fstat(file.fileno()).st_nlink
