"""Latents on disk: HDF5 shards, which a manifest makes a set (see `vdt_hpc.store.manifest`).

    latents/<dataset>-<signature>/train-00000.h5 ... manifest.json

A shard holds `mean` and `std` of the autoencoder's posterior, (clips, flips, T, C, h, w) float16 and not scaled;
`frames`, (clips, T, H, W, 3) uint8, for val and test; `ceiling/<metric>`, (clips, T) float32, what the autoencoder's
reconstruction of those frames measures; `clip_id`. One chunk per clip, uncompressed: half-precision latents hardly
compress. The manifest is written last; latents without it do not exist.

Legend: T frames, C latent channels, h x w latent cells, H x W pixels; flip 0 is the clip as filmed, 1 its mirror.
"""

import bisect
import contextlib
import itertools
import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig, Split
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.store import hdf5
from vdt_hpc.store.manifest import Manifest, Shard, require_manifest
from vdt_hpc.store.rows import Rows

ALL_FRAMES = slice(None)
HalfArray = npt.NDArray[np.float16]
ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


def shard_name(split: Split, index: int) -> str:
    """File name of a split's shard."""
    return f"{split}-{index:05d}.h5"


@dataclass(frozen=True)
class ShardContent:
    """What a shard holds."""

    clip_ids: tuple[str, ...]
    mean: HalfArray
    """(clips, flips, T, C, h, w), not scaled; as `std`."""
    std: HalfArray
    frames: ByteArray | None = None
    """(clips, T, H, W, 3) for the splits that are measured."""
    ceiling: Mapping[str, FloatArray] = field(default_factory=dict)
    """By metric, (clips, T): what the autoencoder's reconstruction of the frames measures."""
    left_out: tuple[str, ...] = ()
    """Clips that were meant for this shard and could not be read, and why, one line each."""
    bf16_deviation: float | None = None
    """Of the first clip; see `Manifest`."""

    def __post_init__(self) -> None:
        if self.mean.shape != self.std.shape or self.mean.ndim != 6 or len(self.clip_ids) != len(self.mean):
            shapes = f"mean {self.mean.shape}, std {self.std.shape} and {len(self.clip_ids)} clip ids"
            raise ValueError(f"shapes of {shapes} do not fit")
        if self.mean.dtype != np.float16 or self.std.dtype != np.float16:
            raise ValueError("mean and std must be float16")
        if self.frames is not None and self.frames.dtype != np.uint8:
            raise ValueError("frames must be uint8")


def write_shard(path: Path, content: ShardContent, named: hdf5.Finish = files.finish) -> None:
    """Write one shard, which `named` gives its name; the same content gives the same bytes.

    Raises:
        UserError: the disk is full.
    """
    arrays: dict[str, npt.NDArray[Any]] = {"mean": content.mean, "std": content.std}
    if content.frames is not None:
        arrays["frames"] = content.frames
    arrays |= {f"ceiling/{metric}": values for metric, values in content.ceiling.items()}
    with hdf5.finish(path, named) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=(1, *array.shape[1:]) if len(array) else None)
        file.create_dataset("clip_id", data=np.array(content.clip_ids, dtype=h5py.string_dtype()))
        file.attrs["left_out"] = json.dumps(content.left_out)
        if content.bf16_deviation is not None:
            file.attrs["bf16_deviation"] = content.bf16_deviation


def describe_shard(path: Path, split: Split) -> Shard:
    """The manifest's entry for a finished shard (reads the whole file once, for its hash)."""
    with h5py.File(path) as file:
        num_clips = len(file["clip_id"])
    return Shard(path.name, split, num_clips, files.sha256(path))


@dataclass(frozen=True)
class ShardNotes:
    """What a shard holds beside its latents and frames."""

    clip_ids: tuple[str, ...]
    ceiling: dict[str, FloatArray]
    left_out: tuple[str, ...]
    bf16_deviation: float | None


def read_notes(path: Path) -> ShardNotes:
    """Read what a shard holds beside its latents and frames; see `ShardContent`.

    Raises:
        UserError: the shard is damaged.
    """
    try:
        with h5py.File(path) as file:
            deviation = file.attrs.get("bf16_deviation")
            return ShardNotes(
                clip_ids=tuple(file["clip_id"].asstr()[:]),
                ceiling={metric: values[:] for metric, values in file.get("ceiling", {}).items()},
                left_out=tuple(json.loads(file.attrs.get("left_out", "[]"))),
                bf16_deviation=None if deviation is None else float(deviation),
            )
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"the shard {path} is damaged ({error}); remove it and run the stage encode again") from None


class _OpenShard(NamedTuple):
    file: h5py.File
    mean: Rows
    std: Rows


class LatentSplit:
    """The clips of one split, read by index; shards open on first use and stay open.

    Reading returns fresh arrays, and several threads may read at once. Not to be shared between processes: open one in
    each. Whatever reads raises UserError, in one line, where a shard cannot be read.
    """

    def __init__(self, folder: Path, split: Split, shards: Sequence[Shard]) -> None:
        self.split = split
        self._paths = [folder / shard.file for shard in shards]
        self._starts = [0, *itertools.accumulate(shard.num_clips for shard in shards)]
        self._open: dict[int, _OpenShard] = {}
        self._opening = threading.Lock()

    def __len__(self) -> int:
        return self._starts[-1]

    def moments(self, index: int, flip: int = 0, frames: slice = ALL_FRAMES) -> tuple[HalfArray, HalfArray]:
        """Mean and standard deviation of a clip's posterior, each (T, C, h, w) float16, not scaled.

        Args:
            index: the clip.
            flip: 0: as filmed; 1: mirrored.
            frames: the frames wanted, without a step.
        """
        with self._reading(index) as (shard, row):
            _, _, num_frames, *frame_shape = shard.mean.shape
            first, last, _ = frames.indices(num_frames)
            mean, std = (np.empty((last - first, *frame_shape), np.float16) for _ in range(2))
            start = (flip * num_frames + first) * math.prod(frame_shape)
            shard.mean.read_into(row, start, mean)
            shard.std.read_into(row, start, std)
        return mean, std

    def read_into(self, index: int, mean: HalfArray, std: HalfArray) -> None:
        """Read the first flips of a clip into contiguous arrays, each (flips, T, C, h, w) float16."""
        with self._reading(index) as (shard, row):
            shard.mean.read_into(row, 0, mean)
            shard.std.read_into(row, 0, std)

    def clip_shape(self) -> tuple[int, int, int, int, int]:
        """(flips, T, C, h, w) of every clip, from the first shard's header; the split must not be empty."""
        with self._reading(0) as (shard, _):
            flips, T, C, h, w = shard.mean.shape[1:]
        return flips, T, C, h, w

    def num_flips(self) -> int:
        """1: as filmed only; 2: also mirrored."""
        return self.clip_shape()[0]

    def frames(self, index: int) -> ByteArray:
        """True pixels of a clip, (T, H, W, 3) uint8 RGB."""
        with self._reading(index) as (shard, row):
            pixels: ByteArray = shard.file["frames"][row]
        return pixels

    def ceiling(self, index: int) -> dict[str, FloatArray]:
        """What the autoencoder's reconstruction of a clip measures, by metric: (T,) float32; empty if not recorded."""
        with self._reading(index) as (shard, row):
            return {metric: values[row] for metric, values in shard.file.get("ceiling", {}).items()}

    def clip_id(self, index: int) -> str:
        """Name of a clip."""
        with self._reading(index) as (shard, row):
            return str(shard.file["clip_id"].asstr()[row])

    @contextlib.contextmanager
    def _reading(self, index: int) -> Iterator[tuple[_OpenShard, int]]:
        """A clip's shard and row; what the system or HDF5 says of a damaged file becomes one line for the user."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        number = bisect.bisect_right(self._starts, index) - 1
        try:
            yield self._shard(number), index - self._starts[number]
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"cannot read the latents {self._paths[number]}: {error}; run encode again") from None

    def _shard(self, number: int) -> _OpenShard:
        with self._opening:
            if number not in self._open:
                file = h5py.File(self._paths[number])
                self._open[number] = _OpenShard(file, Rows(file["mean"]), Rows(file["std"]))
            return self._open[number]


class LatentSet:
    """A finished set of latents, opened for reading."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, config: RunConfig, paths: RunPaths) -> "LatentSet":
        """Open the latents of a run.

        Raises:
            UserError: they are not there, or not finished.
        """
        return cls(paths.latents, require_manifest(config, paths))

    def split(self, split: Split) -> LatentSplit:
        """The clips of one split; it may be empty."""
        return LatentSplit(self.folder, split, [shard for shard in self.manifest.shards if shard.split == split])
