"""Samples on disk: generated clips in HDF5 parts, and the JSON file that makes them a set.

    samples/prediction-ddim-50-clips-000004800-1a2b3c4d/part-00000.h5 ... samples.json

A part holds `samples`, (clips, trajectories, T, H, W, 3) uint8, and `clip_id`, for CLIPS_PER_PART clips in the
order of the test split (the last part may be shorter). Given frames are the model's input decoded, not copied truth.
`samples.json` is written last; a set without it is not finished, and running the stage again goes on with the next
part.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.store.sample_info import SAMPLES, SampleInfo, read_info

ByteArray = npt.NDArray[np.uint8]


def part_path(folder: Path, part: int) -> Path:
    """Path of a part."""
    return folder / f"part-{part:05d}.h5"


def write_part(folder: Path, part: int, samples: ByteArray, clip_ids: Sequence[str]) -> None:
    """Write one part, finished by rename.

    Args:
        folder: the set's folder.
        part: the part's number.
        samples: (clips, trajectories, T, H, W, 3) uint8.
        clip_ids: one name per clip.

    Raises:
        UserError: the disk is full.
        ValueError: the shape or the dtype is not that above.
    """
    if samples.dtype != np.uint8 or samples.ndim != 6 or samples.shape[-1] != 3 or len(samples) != len(clip_ids):
        raise ValueError(f"samples {samples.dtype} {samples.shape} for {len(clip_ids)} clip ids do not fit")
    with files.finish(part_path(folder, part)) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("samples", data=samples, chunks=(1, 1, *samples.shape[2:]))
        file.create_dataset("clip_id", data=np.array(clip_ids, dtype=h5py.string_dtype()))


def finish_set(folder: Path, info: SampleInfo) -> bool:
    """Write `samples.json` if every part is there; True when the set is finished."""
    if not all(part_path(folder, part).exists() for part in range(info.num_parts())):
        return False
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
    def find_all(cls, folder: Path) -> "list[SampleSet]":
        """Every finished set under a run's `samples` folder, in order of name."""
        found = [cls.open(child) for child in sorted(folder.glob("*")) if child.is_dir()]
        return [sample_set for sample_set in found if sample_set is not None]

    def clips(self) -> Iterator[tuple[str, ByteArray]]:
        """Clip by clip: its name and its samples, (trajectories, T, H, W, 3) uint8."""
        for part in range(self.info.num_parts()):
            yield from self.part(part)

    def part(self, part: int) -> Iterator[tuple[str, ByteArray]]:
        """As `clips`, of one part."""
        with self._reading(part) as file:
            for row, name in enumerate(file["clip_id"].asstr()[:]):
                yield str(name), file["samples"][row]

    def num_clips_of(self, part: int) -> int:
        """Clips that a part holds."""
        with self._reading(part) as file:
            return len(file["clip_id"])

    @contextlib.contextmanager
    def _reading(self, part: int) -> Iterator[h5py.File]:
        """An open part; what HDF5 says of a damaged one becomes one line."""
        path = part_path(self.folder, part)
        try:
            with h5py.File(path) as file:
                yield file
        except (OSError, KeyError) as error:
            raise UserError(f"{path} is damaged ({error}); remove it and run the stage sample again") from None
