"""Folders of images, each a film: its images, in the order of the numbers that end their names, are cut into clips.

Where the source has folders train, val or test at its top, these are the splits. Otherwise the last clips of each film
are for the test, the ones before them for validation, and the rest for training.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import PurePosixPath

from preprocess.source.files import Fault, FileStore, Listing, SourceFile
from preprocess.source.image_clips import ImageClip, Size, foreign, sizes
from preprocess.source.layout import Layout, split_folder, split_of
from preprocess.source.numbering import nearest, runs
from vdt_hpc.experiment.config import SPLITS
from vdt_hpc.experiment.data_config import DataConfig

SUFFIXES = (".png", ".jpg", ".jpeg")
_NUMBER = re.compile(r"(\d+)\D*$")


def lay_out(store: FileStore, listing: Listing, data: DataConfig) -> Layout:
    """Cut each folder's images into clips."""
    layout = Layout()
    films: dict[str, list[SourceFile]] = defaultdict(list)
    splits_are_folders = any(split_folder(file.name) for file in listing.files)
    for file in listing.files:
        path = PurePosixPath(file.name)
        if path.suffix.lower() not in SUFFIXES:
            layout.left_out.append(f"{file.name}: no image ({', '.join(SUFFIXES)})")
        elif splits_are_folders and not split_folder(file.name):
            layout.left_out.append(f"{file.name}: lies outside the folders {', '.join(SPLITS)}")
        else:
            films[_film(path)].append(file)
    found = sizes(store, [file for files in films.values() for file in files])
    for film in sorted(films):
        _cut(film, films[film], found, store, data, layout)
    return layout


def _film(path: PurePosixPath) -> str:
    """Name of the film that an image belongs to: its folder's."""
    return str(path.parent) if path.parent.parts else "film"


def _cut(
    film: str,
    files: list[SourceFile],
    found: dict[str, Size | Fault],
    store: FileStore,
    data: DataConfig,
    layout: Layout,
) -> None:
    """Add the clips of one film, and its faults."""
    numbered = _numbered(film, files, layout)
    if not numbered:
        return
    numbers = sorted(numbered)
    here = {numbered[number].name: found[numbered[number].name] for number in numbers}
    bad = {name: fault for name, fault in here.items() if isinstance(fault, Fault)} | foreign(here)
    layout.faults += [bad[name] for name in sorted(bad)]
    spans = list(runs(numbers, _step(numbers)))
    for (_, last), (first, _) in pairwise(spans):
        layout.faults.append(Fault("gap", f"{film}: between {numbered[last].name} and {numbered[first].name} are none"))
    chosen, T = _chosen(numbers, data), data.frames_per_clip
    num_clips, remainder = divmod(len(chosen), T)
    if remainder:
        layout.left_out.append(f"{film}: the last {remainder} of {len(chosen)} frames do not fill a clip")
    for clip in range(num_clips):
        taken = chosen[clip * T : (clip + 1) * T]
        is_whole = any(first <= taken[0] and taken[-1] <= last for first, last in spans)
        names = tuple(numbered[number] for number in taken)
        if is_whole and not any(file.name in bad for file in names):
            split = split_folder(f"{film}/") or split_of(clip, num_clips, data)
            clip_id = f"{film.replace('/', '_')}_{clip * T:06d}"
            layout.clips.append(ImageClip(clip_id, split, T, store, names))


def _numbered(film: str, files: list[SourceFile], layout: Layout) -> dict[int, SourceFile]:
    """The images of a film by number; one without a number, or with one that another has, is a fault."""
    numbered: dict[int, SourceFile] = {}
    for file in files:
        match = _NUMBER.search(PurePosixPath(file.name).stem)
        if match is None:
            layout.faults.append(Fault("misnamed", f"{file.name} has no number in its name"))
            continue
        first = numbered.setdefault(int(match[1]), file)
        if first is not file:
            layout.faults.append(Fault("duplicate", f"{file.name} is the same frame as {first.name}"))
    return numbered


def _step(numbers: list[int]) -> int:
    """How far neighbouring numbers lie apart, for most of them."""
    steps = Counter(second - first for first, second in pairwise(numbers))
    return steps.most_common(1)[0][0] if steps else 1


def _chosen(numbers: list[int], data: DataConfig) -> list[int]:
    """Numbers of the images that are taken, all or those nearest to another rate's moments."""
    if data.frame_rate_hz is None or data.filmed_rate_hz is None:
        return numbers
    step = _step(numbers)
    times_s = [(number - numbers[0]) / step / data.filmed_rate_hz for number in numbers]
    return [numbers[position] for position in nearest(times_s, data.frame_rate_hz)]
