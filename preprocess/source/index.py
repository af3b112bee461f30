"""The index of a source: every clip, and everything that became none."""

from __future__ import annotations

from dataclasses import dataclass

from preprocess.frames import Clip
from preprocess.source.files import KINDS, Fault, Listing, fingerprint_of
from preprocess.source.layout import Layout
from vdt_hpc.experiment.config import SPLITS, Split


@dataclass(frozen=True)
class Index:
    """Every clip of a data set, and what became none."""

    clips: tuple[Clip, ...]
    """Without a fault; sorted by split (train, val, test), then by name."""
    fingerprint: str
    """SHA-256 over the sorted names and sizes of the files."""
    faults: tuple[Fault, ...]
    """Sorted by kind."""
    left_out: tuple[str, ...]
    """What is no clip and no fault, one line each."""
    num_files: int
    num_bytes: int
    """Of all files."""

    @property
    def not_used(self) -> tuple[str, ...]:
        """What became no clip, and why, one line each: faults first."""
        return (*(fault.text for fault in self.faults), *self.left_out)

    def split(self, split: Split) -> tuple[Clip, ...]:
        """The clips of one split."""
        return tuple(clip for clip in self.clips if clip.split == split)


def assemble(listing: Listing, layout: Layout) -> Index:
    """The index of files and what was made of them; of two clips of one name the second becomes a fault."""
    faults = [*listing.faults, *layout.faults]
    clips: dict[str, Clip] = {}
    for clip in sorted(layout.clips, key=lambda clip: (SPLITS.index(clip.split), clip.clip_id)):
        if clip.clip_id in clips:
            faults.append(Fault("duplicate", f"two clips are named {clip.clip_id}"))
        else:
            clips[clip.clip_id] = clip
    return Index(
        clips=tuple(clips.values()),
        fingerprint=fingerprint_of(listing.files),
        faults=tuple(sorted(faults, key=lambda fault: KINDS.index(fault.kind))),
        left_out=tuple(layout.left_out),
        num_files=len(listing.files),
        num_bytes=sum(file.num_bytes for file in listing.files),
    )
