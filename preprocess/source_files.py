"""The files of a source: listed without being opened, named in complaints, hashed by name and size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import CITYSCAPES_TREE

_MOST_FAULTS_SHOWN = 20


@dataclass(frozen=True)
class SourceFile:
    """One file of a source."""

    name: str
    """Path below the source's folder, with forward slashes."""
    num_bytes: int


def fingerprint_of(files: Iterable[SourceFile]) -> str:
    """SHA-256 (64 hex digits) over the sorted names and sizes."""
    lines = sorted(f"{file.name}\t{file.num_bytes}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def list_files(config: RunConfig, folder: Path) -> list[SourceFile]:
    """The source's files below ``folder``, sorted by name; hidden files (unfinished ones) are not among them.

    Raises:
        UserError: the folder, or what must lie in it, is missing.
    """
    cityscapes = config.data.source == "cityscapes"
    top = folder / CITYSCAPES_TREE if cityscapes else folder
    if not top.is_dir():
        remedy = "run the stage streets first" if config.streets else "name the right folder with data.root=FOLDER"
        content = "" if cityscapes else " of video files"
        raise UserError(f"no frames: the folder{content} {top} does not exist; {remedy}")
    return sorted(_walk(top, folder), key=lambda file: file.name)


def _walk(top: Path, folder: Path) -> Iterable[SourceFile]:
    for entry in os.scandir(top):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), folder)
        else:
            yield SourceFile(Path(entry.path).relative_to(folder).as_posix(), entry.stat().st_size)


def refuse(faults: list[str], folder: Path) -> None:
    """Raise one UserError that names the faults, the first twenty of them in full; do nothing where there is none."""
    if not faults:
        return
    shown = "; ".join(faults[:_MOST_FAULTS_SHOWN])
    more = f"; and {len(faults) - _MOST_FAULTS_SHOWN} more" if len(faults) > _MOST_FAULTS_SHOWN else ""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    raise UserError(f"{count} in the frames under {folder}: {shown}{more}; mend or remove these files")
