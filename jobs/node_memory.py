"""Memory of one node: how much is free, and a piece that the processes of the node share.

The shared piece is an anonymous file in memory (memfd_create(2)). It has no name in any file system, so nothing is left
behind however the processes end: the memory goes with its last holder.
"""

import contextlib
import mmap
import os
import socket
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
BOOT_ID = PROC / "sys/kernel/random/boot_id"
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
VERSION_2 = ("memory.max", "memory.current", "")
"""Control groups' files of limit and usage, and what stands before names in memory.stat that count whole trees."""


def host_name() -> str:
    """Name of this host and of its boot: the same for two processes exactly if they run on one kernel."""
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
    return f"{socket.gethostname()} {boot}"


def process_namespace() -> str:
    """Name of this process's pid namespace: process numbers mean the same to two processes that have the same."""
    return str((PROC / "self/ns/pid").readlink())


def free_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Bytes that this process could still take: what the node has left, or its control groups allow, if that is less.

    Cached file pages count as free: they go when memory is asked for.
    """
    fields = dict(line.split(":") for line in (proc / "meminfo").read_text().splitlines())
    left = [int(fields["MemAvailable"].split()[0]) * 1024]
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            left += _left_in_groups(cgroups, path, VERSION_2)
        elif "memory" in controllers.split(","):
            left += _left_in_groups(cgroups / "memory", path, VERSION_1)
    return max(0, min(left))


def _left_in_groups(top: Path, path: str, names: tuple[str, str, str]) -> list[int]:
    """What each group from `path` up to the top still allows; a limit anywhere on the way binds.

    In a container the path may be one of the host's, which is not to be seen here: the groups above it are.
    """
    folder = top / path.lstrip("/")
    limit_file, usage_file, prefix = names
    left = []
    for group in (folder, *folder.parents):
        # Absent, unreadable or "max": no limit.
        with contextlib.suppress(OSError, ValueError):
            limit = int((group / limit_file).read_text())
            left.append(limit - int((group / usage_file).read_text()) + _cached(group, prefix))
        if group == top:
            break
    return left


def _cached(group: Path, prefix: str) -> int:
    """Bytes of a control group's usage that are cached file pages."""
    fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return sum(int(fields.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))


class SharedFile:
    """A new anonymous file in memory, to be mapped by processes of this node.

    Args:
        num_bytes: its size; pages are taken as they are written.

    Raises:
        OSError: the system gives none.
    """

    def __init__(self, num_bytes: int) -> None:
        self._file = os.memfd_create("latents")
        os.ftruncate(self._file, num_bytes)
        self.memory = mmap.mmap(self._file, num_bytes)
        self.place = f"{PROC}/{os.getpid()}/fd/{self._file}"
        """Path under which processes of the same pid namespace can open the file until it is closed."""

    def close(self) -> None:
        """Let nobody else open it; what is mapped stays."""
        os.close(self._file)


def attach(place: str) -> mmap.mmap:
    """Map another process's shared file for reading.

    Raises:
        OSError: it cannot be opened from here.
    """
    file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return mmap.mmap(file, 0, prot=mmap.PROT_READ)
    finally:
        os.close(file)
