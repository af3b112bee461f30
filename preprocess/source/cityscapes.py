"""Frames named and laid out as in Cityscapes' leftImg8bit_sequence.

    leftImg8bit_sequence/<split>/<city>/<city>_<sequence:06d>_<frame:06d>_leftImg8bit.png

A clip is a run of consecutive frame numbers of one (city, sequence). In the real data a sequence's numbers do not
always begin at 0, and in some cities one sequence number holds several clips at distant frame numbers. Counting off
files of a sorted list would shift every clip behind a missing one; here a fault stays where it is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from preprocess.source.files import Fault, FileStore, Listing, SourceFile
from preprocess.source.image_clips import ImageClip, foreign, sizes
from preprocess.source.layout import Layout
from preprocess.source.numbering import runs
from vdt_hpc.experiment.config import SPLITS, Split
from vdt_hpc.experiment.data_config import DataConfig
from vdt_hpc.experiment.paths import CITYSCAPES_TREE

_NAME = re.compile(r"(?P<city>.+)_(?P<sequence>\d+)_(?P<frame>\d+)_leftImg8bit\.png")


def frame_name(city: str, sequence: int, frame: int) -> str:
    """File name of a frame."""
    return f"{city}_{sequence:06d}_{frame:06d}_leftImg8bit.png"


@dataclass(frozen=True, order=True)
class _Key:
    """What the frames of one sequence share."""

    split: Split
    city: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.split}/{self.city} sequence {self.sequence:06d}"


def lay_out(store: FileStore, listing: Listing, data: DataConfig) -> Layout:
    """Group frames into clips."""
    layout = Layout()
    images = [file for file in listing.files if file.name.lower().endswith(".png")]
    if others := len(listing.files) - len(images):
        layout.left_out.append(f"files under {CITYSCAPES_TREE} that are no PNG: {others}")
    named, doubled = _sequences(images, layout)
    found = sizes(store, [file for frames in named.values() for file in frames.values()])
    bad = {name: fault for name, fault in found.items() if isinstance(fault, Fault)} | foreign(found)
    layout.faults += [bad[name] for name in sorted(bad)]
    for key in sorted(named):
        frames = named[key]
        spans = list(runs(sorted(frames)))
        layout.faults += _wrong_runs(key, spans, data.frames_per_clip)
        for first, last in spans:
            numbers = range(first, last + 1)
            is_clean = all((key.city, key.sequence, number) not in doubled for number in numbers)
            if len(numbers) == data.frames_per_clip and is_clean and not any(frames[n].name in bad for n in numbers):
                files = tuple(frames[number] for number in numbers)
                clip_id = f"{key.city}_{key.sequence:06d}_{first:06d}"
                layout.clips.append(ImageClip(clip_id, key.split, len(files), store, files))
    return layout


def _sequences(
    images: list[SourceFile], layout: Layout
) -> tuple[dict[_Key, dict[int, SourceFile]], set[tuple[str, int, int]]]:
    """The frames of each sequence by number, and the frames (city, sequence, number) that there are two of."""
    named: dict[_Key, dict[int, SourceFile]] = defaultdict(dict)
    owners: dict[tuple[str, int, int], str] = {}
    doubled = set()
    for file in images:
        parsed = _parse(file)
        if isinstance(parsed, Fault):
            layout.faults.append(parsed)
            continue
        key, frame = parsed
        same = (key.city, key.sequence, frame)
        first = owners.setdefault(same, file.name)
        if first != file.name:
            layout.faults.append(Fault("duplicate", f"{file.name} is the same frame as {first}"))
            doubled.add(same)
            continue
        named[key][frame] = file
    return named, doubled


def _parse(file: SourceFile) -> tuple[_Key, int] | Fault:
    """The sequence and frame number of a file, or what is wrong with its name."""
    parts = file.name.split("/")
    match = _NAME.fullmatch(parts[-1])
    if len(parts) != 4 or match is None:
        layout = "<split>/<city>/<city>_<sequence>_<frame>_leftImg8bit.png"
        return Fault("misnamed", f"{file.name} is not named {layout}")
    split, city = parts[1], parts[2]
    if split not in SPLITS:
        return Fault("misnamed", f"{file.name} lies in no split ({', '.join(SPLITS)})")
    if match["city"] != city:
        return Fault("misnamed", f"{file.name} is named after another city than its folder")
    return _Key(SPLITS[SPLITS.index(split)], city, int(match["sequence"])), int(match["frame"])


def _wrong_runs(key: _Key, spans: list[tuple[int, int]], frames_per_clip: int) -> Iterator[Fault]:
    """A fault for each run that is not exactly one clip long; a gap inside a clip is named as such."""
    for position, (first, last) in enumerate(spans):
        count = last - first + 1
        if count == frames_per_clip:
            continue
        text = f"{key}: frames {first:06d} to {last:06d} are {count}, not {frames_per_clip}"
        if position + 1 < len(spans) and spans[position + 1][0] < first + frames_per_clip:
            gap_first, gap_last = last + 1, spans[position + 1][0] - 1
            missing = f"{gap_first:06d}" if gap_first == gap_last else f"{gap_first:06d} to {gap_last:06d}"
            yield Fault("gap", f"{text} (gap: {missing} missing)")
        else:
            yield Fault("wrong length", text)
