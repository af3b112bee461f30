"""The index of a tree in the layout of Cityscapes' leftImg8bit_sequence.

    leftImg8bit_sequence/<split>/<city>/<city>_<sequence:06d>_<frame:06d>_leftImg8bit.png

A clip is a run of consecutive frame numbers of one (city, sequence). In the real data a sequence's numbers do not
always begin at 0, and in some cities one sequence number holds several clips at distant frame numbers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from preprocess.frames import ByteArray, Clip
from preprocess.source_files import SourceFile, refuse
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import SPLITS, Split
from vdt_hpc.experiment.paths import CITYSCAPES_TREE

_NAME = re.compile(r"(?P<city>.+)_(?P<sequence>\d+)_(?P<frame>\d+)_leftImg8bit\.png")


def frame_name(city: str, sequence: int, frame: int) -> str:
    """File name of a frame."""
    return f"{city}_{sequence:06d}_{frame:06d}_leftImg8bit.png"


@dataclass(frozen=True)
class PngClip(Clip):
    """A clip of PNG files."""

    files: tuple[Path, ...]

    def images(self) -> Iterator[ByteArray]:
        """The frames one by one, each (H, W, 3); see ``Clip.images``."""
        for path in self.files:
            try:
                with Image.open(path) as image:
                    yield np.asarray(image.convert("RGB"))
            except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG chunk
                raise UserError(f"cannot read the frame {path}: {error}; replace the file") from None


@dataclass(frozen=True, order=True)
class _Key:
    """What the frames of one sequence share."""

    split: Split
    city: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.split}/{self.city} sequence {self.sequence:06d}"


def index_tree(folder: Path, files: Iterable[SourceFile], frames_per_clip: int) -> tuple[list[Clip], list[str]]:
    """Group the files of a tree into clips.

    Returns:
        The clips, and one line for each kind of file that is not used.

    Raises:
        UserError: gaps, runs of another length, doubled or misnamed frames, by name.
    """
    sequences: dict[_Key, dict[int, str]] = defaultdict(dict)
    owners: dict[tuple[str, int, int], str] = {}
    faults: list[str] = []
    others = 0
    for file in files:
        if not file.name.lower().endswith(".png"):
            others += 1
            continue
        parsed = _parse(file)
        if isinstance(parsed, str):
            faults.append(parsed)
            continue
        key, frame = parsed
        first = owners.setdefault((key.city, key.sequence, frame), file.name)
        if first != file.name:
            faults.append(f"{file.name} is the same frame as {first}")
            continue
        sequences[key][frame] = file.name
    clips: list[Clip] = []
    for key in sorted(sequences):
        runs = list(_runs(sorted(sequences[key])))
        faults += _wrong_runs(key, runs, frames_per_clip)
        for first_frame, last_frame in runs:
            paths = tuple(folder / sequences[key][frame] for frame in range(first_frame, last_frame + 1))
            clip_id = f"{key.city}_{key.sequence:06d}_{first_frame:06d}"
            clips.append(PngClip(clip_id, key.split, len(paths), paths))
    refuse(faults, folder)
    return clips, [f"files under {CITYSCAPES_TREE} that are no PNG: {others}"] if others else []


def _parse(file: SourceFile) -> tuple[_Key, int] | str:
    """The sequence and frame number of a file, or what is wrong with it."""
    parts = file.name.split("/")
    match = _NAME.fullmatch(parts[-1])
    if len(parts) != 4 or match is None:
        return f"{file.name} is not named <split>/<city>/<city>_<sequence>_<frame>_leftImg8bit.png"
    split, city = parts[1], parts[2]
    if split not in SPLITS:
        return f"{file.name} lies in no split ({', '.join(SPLITS)})"
    if match["city"] != city:
        return f"{file.name} is named after another city than its folder"
    if file.num_bytes == 0:
        return f"{file.name} is empty"
    return _Key(SPLITS[SPLITS.index(split)], city, int(match["sequence"])), int(match["frame"])


def _runs(frames: list[int]) -> Iterator[tuple[int, int]]:
    """First and last number of each run of consecutive numbers in a sorted list."""
    first = previous = frames[0]
    for frame in frames[1:]:
        if frame != previous + 1:
            yield first, previous
            first = frame
        previous = frame
    yield first, previous


def _wrong_runs(key: _Key, runs: list[tuple[int, int]], frames_per_clip: int) -> Iterator[str]:
    """One line for each run that is not exactly one clip long; a gap inside a clip is named as such."""
    for position, (first, last) in enumerate(runs):
        count = last - first + 1
        if count == frames_per_clip:
            continue
        text = f"{key}: frames {first:06d} to {last:06d} are {count}, not {frames_per_clip}"
        if position + 1 < len(runs) and runs[position + 1][0] < first + frames_per_clip:
            gap_first, gap_last = last + 1, runs[position + 1][0] - 1
            missing = f"{gap_first:06d}" if gap_first == gap_last else f"{gap_first:06d} to {gap_last:06d}"
            text += f" (gap: {missing} missing)"
        yield text
