"""Where clips come from: one interface over a Cityscapes tree and a folder of videos.

``open_source`` builds the index of all clips without decoding a frame; ``source_fingerprint`` only lists the files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from preprocess.frames import Clip
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import SPLITS, RunConfig, Split

_MOST_FAULTS_SHOWN = 20


@dataclass(frozen=True)
class SourceFile:
    """One file of a source."""

    name: str
    """Path below the source's folder, with forward slashes."""
    num_bytes: int


@dataclass(frozen=True)
class Source:
    """Every clip of a data set."""

    clips: tuple[Clip, ...]
    """Sorted by split (train, val, test), then by name."""
    fingerprint: str
    """SHA-256 over the sorted names and sizes of the files."""
    left_out: tuple[str, ...]
    """What did not become a clip, and why, one line each."""

    def split(self, split: Split) -> tuple[Clip, ...]:
        """The clips of one split."""
        return tuple(clip for clip in self.clips if clip.split == split)


def open_source(config: RunConfig, folder: Path) -> Source:
    """Index the clips below ``folder`` as the run's data section says.

    Raises:
        UserError: the folder is missing, or the files do not form whole clips; every fault is named.
    """
    files = list_files(config, folder)
    if config.streets is not None:
        from preprocess.streets import require_complete

        require_complete(folder)
    if config.data.source == "cityscapes":
        from preprocess.cityscapes import index_tree

        clips, left_out = index_tree(folder, files, config.data.frames_per_clip)
    else:
        from preprocess.videos import index_videos

        clips, left_out = index_videos(folder, files, config.data)
    _check(clips, folder)
    ordered = sorted(clips, key=lambda clip: (SPLITS.index(clip.split), clip.clip_id))
    return Source(tuple(ordered), fingerprint_of(files), tuple(left_out))


def source_fingerprint(config: RunConfig, folder: Path) -> str | None:
    """Fingerprint of the source's files, or None where the folder is not there."""
    return fingerprint_of(list_files(config, folder)) if folder.is_dir() else None


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
    top = folder / "leftImg8bit_sequence" if cityscapes else folder
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


def _check(clips: list[Clip], folder: Path) -> None:
    seen: set[str] = set()
    twice = []
    for clip in clips:
        if clip.clip_id in seen:
            twice.append(f"two clips are named {clip.clip_id}")
        seen.add(clip.clip_id)
    refuse(twice, folder)
    if not any(clip.split == "train" for clip in clips):
        raise UserError(f"no training clip in the {len(clips)} clips under {folder}; check data.root and data.source")
