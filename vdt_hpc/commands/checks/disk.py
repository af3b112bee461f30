"""The folder that all nodes share: can it be written, is it shared, do checkpoints and latents to come fit into it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vdt_hpc.commands.checks.findings import Finding, fault, ok, warning
from vdt_hpc.commands.run_state import RunState
from vdt_hpc.commands.words import amount
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.size import checkpoint_bytes, shards_bytes
from vdt_hpc.store import checkpoint
from vdt_hpc.store.frames_index import read_counts

MOUNTS = Path("/proc/self/mountinfo")
IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
OF_A_NODE = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
TIGHT = 1.25
"""Less free space than this many times what is needed is worth a word."""


def check_writable(paths: RunPaths) -> Iterator[Finding]:
    """Try to write a file into the root and into the run's folder; makes no folder."""
    for subject, folder in (("root", paths.root), ("run's folder", paths.run)):
        there = nearest(folder)
        if subject != "root" and there != folder:
            continue  # it will be made in the root
        try:
            with tempfile.TemporaryFile(dir=there, prefix=".preflight-"):
                pass
        except OSError as error:
            remedy = "choose another --root" if subject == "root" else "choose another name=... or --root"
            yield fault(subject, f"cannot write {there}: {error.strerror}; {remedy}")
        else:
            yield ok(subject, f"{folder} can be {'written' if there == folder else f'made in {there}'}")


def check_shared(paths: RunPaths, num_nodes: int) -> Finding:
    """Whether the nodes of a cluster see the root, as far as its place and file system tell."""
    root = nearest(paths.root).resolve()
    kind = file_system(root)
    if num_nodes > 1 and kind in IN_MEMORY:
        return warning("shared", f"{paths.root} is on {kind}, the memory of this machine: other nodes do not see it")
    own = next((each for each in OF_A_NODE if root.is_relative_to(each)), None)
    if num_nodes > 1 and own:
        return warning("shared", f"{paths.root} is in {own}, which each node has for itself on most sites")
    return ok("shared", f"{paths.root} is on {kind or 'a file system that this machine does not name'}")


def check_space(config: RunConfig, paths: RunPaths, state: RunState) -> Finding:
    """Whether the checkpoints to come fit; quotas are not seen."""
    size, how = checkpoint_bytes(config), "from the number of parameters"
    if state.newest:
        size, how = _bytes_of(state.newest.path) or size, f"as {state.newest.name}"
    train = config.train
    num_kept = train.keep_checkpoints
    if train.keep_every_clips:
        num_kept += train.total_clips // train.keep_every_clips
    there = sum(_bytes_of(path) for path in checkpoint.folders(paths.checkpoints))
    # One more is written before the oldest is removed.
    needed = max(size, (num_kept + 1) * size - there)
    free = free_bytes(nearest(paths.checkpoints))
    said = (
        f"{num_kept + 1} checkpoints of {amount(size)} ({how}), {amount(there)} of them there, need {amount(needed)}; "
        f"{amount(free)} are free in {paths.root}"
    )
    if needed > free:
        return fault("space", f"no space for the checkpoints: {said}; free some, or lower train.keep_checkpoints")
    if needed * TIGHT > free:
        return warning("space", f"hardly any space is left for anything else: {said}")
    return ok("space", said)


def check_latents_space(config: RunConfig, paths: RunPaths) -> Iterator[Finding]:
    """Whether the latents to come fit, where an index has counted the clips; quotas are not seen."""
    counts = read_counts(config, paths)
    if counts is None:
        return
    size, there = shards_bytes(config, counts.num_clips), _bytes_of(paths.latents)
    free = free_bytes(nearest(paths.latents))
    said = f"latents of {amount(size)}, {amount(there)} of them there; {amount(free)} are free in {paths.root}"
    if size - there > free:
        yield fault("space for latents", f"no space for the latents: {said}; free some, or choose another --root")
    elif (size - there) * TIGHT > free:
        yield warning("space for latents", f"hardly any space is left for anything else: {said}")
    else:
        yield ok("space for latents", said)


def nearest(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each)), Path("/"))


def file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """Kind of the file system that a resolved folder is on, such as `nfs4`; empty where the system does not tell."""
    if not mounts.exists():
        return ""
    kinds: dict[Path, str] = {}
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        place, _, rest = line.partition(" - ")
        # proc(5): the mount point is the fifth field, blanks in it are octal.
        kinds[Path(place.split(" ")[4].replace("\\040", " "))] = rest.split(" ")[0]
    return next((kinds[each] for each in (folder, *folder.parents) if each in kinds), "")


def _bytes_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a job may remove old checkpoints meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write where a folder is."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
