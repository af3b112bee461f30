"""Where clips come from: one interface over a Cityscapes tree and a folder of videos.

``open_source`` builds the index of all clips without decoding a frame; ``source_fingerprint`` only lists the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preprocess.cityscapes import index_tree
from preprocess.frames import Clip
from preprocess.source_files import fingerprint_of, list_files, refuse
from preprocess.street_clips import require_complete
from preprocess.videos import index_videos
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import SPLITS, RunConfig, Split


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
        require_complete(folder)
    if config.data.source == "cityscapes":
        clips, left_out = index_tree(folder, files, config.data.frames_per_clip)
    else:
        clips, left_out = index_videos(folder, files, config.data)
    _check(clips, folder)
    ordered = sorted(clips, key=lambda clip: (SPLITS.index(clip.split), clip.clip_id))
    return Source(tuple(ordered), fingerprint_of(files), tuple(left_out))


def source_fingerprint(config: RunConfig, folder: Path) -> str | None:
    """Fingerprint of the source's files, or None where the folder is not there."""
    return fingerprint_of(list_files(config, folder)) if folder.is_dir() else None


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
