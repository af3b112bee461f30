"""Writing checkpoints, in two steps that many ranks share and that a lost run cannot take.

Every rank writes its share into a hidden staging folder (`write_share`), then one of them writes the JSON file and
renames the folder (`publish`). `fence` takes the staging folders of earlier writers away, so that a writer which wakes
up after its run went to another one has nothing left to rename.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdt_hpc import files
from vdt_hpc.store.checkpoint import (
    MARK,
    PARTS,
    VERSION,
    Checkpoint,
    Damaged,
    Provenance,
    clips_in_name,
    folder_name,
    folders,
    read,
)

if TYPE_CHECKING:
    from torch import Tensor

Share = Mapping[str, "Mapping[str, Tensor]"]
Marks = dict[str, dict[str, Any]]
"""File name -> its SHA-256 and number of bytes."""


class NotFinite(Exception):
    """Name of a tensor that must not be saved, since a number in it is not finite."""


def stage(folder: Path, clips_seen: int, writer: str) -> Path:
    """Make the staging folder of a checkpoint; one rank calls this, so that no other can bring it back.

    Args:
        folder: the run's folder of checkpoints.
        clips_seen: clips that training had seen.
        writer: a name that no other writer of the run has.

    Raises:
        UserError: the folder cannot be written.
    """
    staging = folder / f".{folder_name(clips_seen)}.{writer}.tmp"
    with files.explained(staging):
        staging.mkdir(parents=True)
    return staging


def write_share(staging: Path, share: Share, piece: int = 0, num_pieces: int = 1) -> Marks:
    """Write one rank's piece of every part, flushed; returns what `checkpoint.json` says of its files.

    Args:
        staging: from `stage`; it is not made again where it has gone.
        share: `model`, `ema` and `optimizer`, each name -> tensor on the CPU; keys without wrapper prefixes.
        piece, num_pieces: this rank's number and the number of ranks.

    Raises:
        NotFinite: a tensor holds a number that is not finite.
        UserError: the disk is full.
        FileNotFoundError: the staging folder was taken away.
    """
    assert set(share) == set(PARTS), sorted(share)
    marks: Marks = {}
    for part, tensors in share.items():
        _require_finite(tensors)
        suffix = "" if num_pieces == 1 else f"-{piece + 1:05d}-of-{num_pieces:05d}"
        file = staging / f"{part}{suffix}.safetensors"
        with files.explained(file):
            write_tensors(file, tensors)
            files.flush(file)
            marks[file.name] = {"sha256": files.sha256(file), "num_bytes": file.stat().st_size}
    return marks


def publish(staging: Path, provenance: Provenance, marks: Marks, check: Callable[[], None]) -> Checkpoint:
    """Make a staged checkpoint exist: write its JSON file, then rename the folder.

    A folder of the same name (a damaged one that training has come past again) is replaced.

    Args:
        staging: the staging folder, with the files of all ranks.
        provenance: what goes into `checkpoint.json`.
        marks: of all ranks.
        check: called right before the rename; raises if this process may not publish.

    Raises:
        UserError: the disk is full.
        FileNotFoundError: the staging folder was taken away.
    """
    path = staging.with_name(folder_name(provenance.clips_seen))
    mark = staging / MARK
    with files.explained(path):
        # Opened by name, not through `files.finish`, which would make a folder that was taken away.
        mark.write_text(files.json_text({"version": VERSION, **asdict(provenance), "files": marks}))
        files.flush(mark)
        files.flush(staging)
        check()
        _rename(staging, path)
        files.flush(path.parent)
    return read(path)


def _rename(staging: Path, path: Path) -> None:
    """Give a staged checkpoint its name.

    What already has the name moves aside only while the staging folder is there, and comes back if that is taken away
    meanwhile: it then is the checkpoint of the job that has taken the run over.
    """
    try:
        os.replace(staging, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
    else:
        return
    replaced = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    os.replace(path, replaced)
    try:
        os.replace(staging, path)
    except FileNotFoundError:
        os.replace(replaced, path)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def retain(folder: Path, keep: int, keep_every_clips: int | None = None) -> list[str]:
    """Remove old checkpoints; returns a line for each that stays, wholly or in part, as it cannot be removed.

    Args:
        folder: the run's folder of checkpoints.
        keep: the newest whole ones that stay, at least 1; damaged ones newer than the oldest of them stay to be seen.
        keep_every_clips: the first whole one at or after each multiple of this stays too.
    """
    whole = [path for path in folders(folder) if _is_whole(path)]
    milestones: dict[int, Path] = {}
    for path in whole:  # newest first, so that the oldest of each interval is what remains
        milestones[clips_in_name(path) // keep_every_clips if keep_every_clips else 0] = path
    milestones.pop(0, None)
    kept = {*whole[: max(keep, 1)], *milestones.values()}
    oldest = min((clips_in_name(path) for path in whole[: max(keep, 1)]), default=0)
    old = [path for path in folders(folder) if path not in kept and clips_in_name(path) < oldest]
    return [fault for path in old if (fault := _remove_old(path))]


def _remove_old(path: Path) -> str:
    """Remove a checkpoint; returns why that cannot be done, or nothing."""
    if not os.access(path, os.W_OK | os.X_OK) and path.exists():  # it could be renamed all the same
        return f"the old checkpoint {path} is protected: it stays until its folder can be written, or you remove it"
    try:
        left = remove(path)
    except OSError as error:
        return f"the old checkpoint {path} stays, as it cannot be renamed ({error.strerror}): remove it by hand"
    return f"of the old checkpoint {path} something cannot be removed: remove {left} by hand" if left else ""


def fence(folder: Path) -> None:
    """Take away what an earlier writer left half-written; only the run's one writer may call this, as it starts.

    Staging folders are renamed first: from then on the earlier writer, should it wake up, cannot write or rename them.
    """
    for path in folder.glob(".clips-*.tmp"):
        remove(path)
    for pattern in (".clips-*.removed", ".clips-*.replaced"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def remove(path: Path) -> Path | None:
    """Take a staging folder away from whoever still writes into it, or a checkpoint from its readers, then remove it.

    Renamed first, so that a kill leaves no half of a checkpoint. Returns what is left of it, if something cannot be
    removed: the next start tries again. Nothing happens where another process was faster.
    """
    removed = path.with_name(f".{path.name.removeprefix('.').removesuffix('.tmp')}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, removed)
    shutil.rmtree(removed, ignore_errors=True)
    return removed if removed.exists() else None


def _is_whole(path: Path) -> bool:
    try:
        read(path)
    except Damaged:
        return False
    return True


def _require_finite(tensors: "Mapping[str, Tensor]") -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise NotFinite(name)


def write_tensors(file: Path, tensors: "Mapping[str, Tensor]", metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file in place; an OSError names the system's reason, whatever safetensors makes of it."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), file, metadata)
    except SafetensorError as error:  # its own kind of error, the system's number only in the text
        numbers = (errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.EACCES, errno.EROFS)
        found = next((number for number in numbers if f"os error {number})" in str(error)), errno.EIO)
        raise OSError(found, str(error), str(file)) from error
    file.chmod(file.parent.stat().st_mode & 0o666)  # safetensors makes files for their owner alone; the group reads too
