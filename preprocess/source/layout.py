"""What a way to lay out files makes of them: clips, faults, and files that are none of its business."""

from __future__ import annotations

from dataclasses import dataclass, field

from preprocess.frames import Clip
from preprocess.source.files import Fault
from vdt_hpc.experiment.config import SPLITS, Split
from vdt_hpc.experiment.data_config import DataConfig


@dataclass
class Layout:
    """The index of a source while it is made."""

    clips: list[Clip] = field(default_factory=list)
    """Clips without a fault."""
    faults: list[Fault] = field(default_factory=list)
    """What keeps files from being, or being part of, such a clip."""
    left_out: list[str] = field(default_factory=list)
    """What is no clip and no fault: remainders, files of another kind; one line each."""


def split_of(number: int, num_clips: int, data: DataConfig) -> Split:
    """Split of a film's clip, where no folder says it: the last are for the test, those before them for validation."""
    first_test = num_clips - data.test_clips_per_video
    if number >= first_test:
        return "test"
    return "val" if number >= first_test - data.val_clips_per_video else "train"


def split_folder(name: str) -> Split | None:
    """The split whose folder a file lies in, at the top."""
    top = name.split("/")[0]
    return SPLITS[SPLITS.index(top)] if top in SPLITS and "/" in name else None
