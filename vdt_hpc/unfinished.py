"""Names of files that are being written, and what killed writers left under such names."""

import contextlib
import os
import re
import shutil
import socket
import time
from pathlib import Path

from vdt_hpc.processes import state_and_start

_MARK = "vdt-hpc"
"""Tells our names from others: a folder that a user names may hold anything."""
_STALE_S = 600.0
"""A writer of another machine that has written nothing for so long is taken for dead."""


def name_for(path: Path) -> Path:
    """Where this process writes what will become `path`: a hidden name beside it, with host and process."""
    return path.with_name(f".{path.name}.{_MARK}@{_host()}-{os.getpid()}.tmp")


def sweep(folder: Path) -> None:
    """Remove files and folders under names of `name_for` right in `folder` whose writers are dead.

    A writer of this machine is dead when its process is gone, any other when it has written nothing for ten minutes.
    What cannot be removed, or is younger, stays until the next sweep: it means nothing to anybody.
    """
    for path in folder.glob(".*.tmp"):
        match = re.fullmatch(rf"\..+\.{_MARK}@([^@]+)-(\d+)\.tmp", path.name)
        if match and not _is_written(path, match[1] == _host(), int(match[2])):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _host() -> str:
    """This machine, and the table that its process numbers are from: a container has its own."""
    try:
        return f"{socket.gethostname()}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()}-0"


def _is_written(path: Path, is_of_this_host: bool, pid: int) -> bool:
    if is_of_this_host:
        return _runs(pid)
    try:
        changed = max(file.stat().st_mtime for file in (path, *path.rglob("*")))
    except OSError:
        return True  # changing at this moment
    return time.time() - changed < _STALE_S


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    found = state_and_start(pid)
    return found is None or found[0] not in "ZX"  # None: there is no /proc
