"""Samples on disk: generated clips in HDF5 parts, and the JSON file that makes them a set.

    samples/prediction-ddim-50-clips-000004800-1a2b3c4d/part-00000.h5 ... samples.json

A part holds `samples`, (clips, trajectories, T, H, W, 3) uint8, and `clip_id`, for CLIPS_PER_PART clips in the order
of the test split (the last part may be shorter). Where a clip has fewer trajectories than others, their place takes no
space on disk. Given frames are the model's input decoded, not copied truth. As attributes, the digest of the content,
the seconds that the part took and the device that made it. `samples.json` is written last; a set without it is not
finished, and running the stage again goes on with the next part. So it does where a part was removed.
"""

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.store import hdf5
from vdt_hpc.store.sample_info import SAMPLES, SampleInfo, read_info, read_infos

ByteArray = npt.NDArray[np.uint8]


def part_path(folder: Path, part: int) -> Path:
    """Path of a part."""
    return folder / f"part-{part:05d}.h5"


@dataclass(frozen=True)
class Pace:
    """How long samples took."""

    seconds: float
    """Wall-clock time, from noise to frames."""
    num_samples: int
    device: str
    """Name of the device."""


def write_part(
    folder: Path, part: int, samples: Sequence[ByteArray], clip_ids: Sequence[str], pace: Pace | None = None
) -> None:
    """Write one part, finished by rename.

    Args:
        folder: the set's folder.
        part: the part's number.
        samples: of each clip, (trajectories, T, H, W, 3) uint8; clips may differ in trajectories, in nothing else.
        clip_ids: one name per clip.
        pace: how long they took; None: nobody knows.

    Raises:
        UserError: the disk is full.
        ValueError: a shape or a dtype is not that above.
    """
    frames = {clip.shape[1:] if clip.dtype == np.uint8 and clip.ndim == 5 else None for clip in samples}
    shape = next(iter(frames), None)
    if len(frames) != 1 or shape is None or shape[-1] != 3 or len(samples) != len(clip_ids):
        told = [f"{clip.dtype} {clip.shape}" for clip in samples]
        raise ValueError(f"samples {told} for {len(clip_ids)} clip ids do not fit")
    most = max(len(clip) for clip in samples)
    with hdf5.finish(part_path(folder, part)) as file:
        stored = file.create_dataset("samples", (len(samples), most, *shape), np.uint8, chunks=(1, 1, *shape))
        for index, clip in enumerate(samples):
            stored[index, : len(clip)] = clip  # a chunk that is never written takes no space
        file.create_dataset("clip_id", data=np.array(clip_ids, dtype=h5py.string_dtype()))
        file.attrs["sha256"] = _digest(samples, clip_ids)
        if pace:
            file.attrs.update(asdict(pace))


def _digest(samples: Sequence[ByteArray], clip_ids: Sequence[str]) -> str:
    """SHA-256 of what a part holds.

    Beside sampling it costs nothing; reading all samples whenever somebody asks whether they are still the same would.
    """
    digest = hashlib.sha256()
    for name, clip in zip(clip_ids, samples, strict=True):
        digest.update(f"{name} {clip.shape}".encode())
        digest.update(np.ascontiguousarray(clip).data)
    return digest.hexdigest()


def missing_parts(folder: Path, info: SampleInfo) -> list[int]:
    """Numbers of the parts of a set that are not there."""
    return [part for part in range(info.num_parts()) if not part_path(folder, part).exists()]


def is_finished(folder: Path, info: SampleInfo) -> bool:
    """True if a set is all there: its parts, and `samples.json`."""
    return (folder / SAMPLES).exists() and not missing_parts(folder, info)


def finish_set(folder: Path, info: SampleInfo) -> bool:
    """Write `samples.json` if every part is there; True when the set is finished.

    One that is there stays: a part that was removed and made again is what it was.
    """
    if missing_parts(folder, info):
        return False
    if not (folder / SAMPLES).exists():
        files.write_json(folder / SAMPLES, asdict(info))
    return True


class SampleSet:
    """A finished sample set, opened for reading."""

    def __init__(self, folder: Path, info: SampleInfo) -> None:
        self.folder = folder
        self.info = info

    @classmethod
    def open(cls, folder: Path) -> "SampleSet | None":
        """The set in a folder, or None where it is not finished.

        Raises:
            UserError: `samples.json` is damaged.
        """
        info = read_info(folder)
        return None if info is None else cls(folder, info)

    @classmethod
    def find_all(cls, folder: Path) -> "tuple[list[SampleSet], list[str]]":
        """Every finished set under a run's `samples` folder, in order of name; and a line for each that is damaged."""
        infos, damaged = read_infos(folder)
        return [cls(folder / info.name, info) for info in infos], damaged

    def clips(self) -> Iterator[tuple[str, ByteArray]]:
        """Clip by clip: its name and its samples, (trajectories, T, H, W, 3) uint8."""
        for part in range(self.info.num_parts()):
            yield from self.part(part)

    def part(self, part: int) -> Iterator[tuple[str, ByteArray]]:
        """As `clips`, of one part."""
        with self._reading(part) as file:
            for row, name in enumerate(file["clip_id"].asstr()[:]):
                clip = self.info.part_clips(part).start + row
                yield str(name), file["samples"][row, : self.info.counts.of_clip(clip)]

    def clip(self, index: int) -> tuple[str, ByteArray]:
        """As `clips`, of one clip.

        Raises:
            UserError: its part is damaged, or holds fewer clips.
        """
        part = self.info.part_of(index)
        found = next(itertools.islice(self.part(part), index - self.info.part_clips(part).start, None), None)
        if found is None:
            path, held = part_path(self.folder, part), self.num_clips_of(part)
            told = f"{path} holds {held} of {len(self.info.part_clips(part))} clips"
            raise UserError(f"{told}; remove it and run the stage sample again")
        return found

    def paces(self) -> list[Pace]:
        """How long each part took, as far as known."""
        found = []
        for part in range(self.info.num_parts()):
            with self._reading(part) as file:
                told = dict(file.attrs)
            if "seconds" in told:
                found.append(Pace(float(told["seconds"]), int(told["num_samples"]), str(told["device"])))
        return found

    def digest(self, part: int) -> str:
        """SHA-256 of a part's content, as it was written; empty for parts from before there was one.

        Raises:
            UserError: the part is damaged.
        """
        with self._reading(part) as file:
            return str(file.attrs.get("sha256", ""))

    def num_clips_of(self, part: int) -> int:
        """Clips that a part holds."""
        with self._reading(part) as file:
            return len(file["clip_id"])

    @contextlib.contextmanager
    def _reading(self, part: int) -> Iterator[h5py.File]:
        """An open part; one that is missing, and what HDF5 says of a damaged one, becomes one line."""
        path = part_path(self.folder, part)
        try:
            with h5py.File(path) as file:
                yield file
        except FileNotFoundError:
            raise UserError(f"{path} is missing; run the stage sample again") from None
        except (OSError, KeyError) as error:
            raise UserError(f"{path} is damaged ({error}); remove it and run the stage sample again") from None
