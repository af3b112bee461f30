"""Every shard of a set of latents against the manifest and the run: its bytes, its shapes, its values.

Holds one clip at a time.

Legend: T frames, C latent channels, h x w latent cells, H x W pixels.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from preprocess.findings import Findings
from vdt_hpc import files
from vdt_hpc.experiment.config import SPLITS, RunConfig, Split
from vdt_hpc.experiment.size import MEASURED_SPLITS
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import StopFlag
from vdt_hpc.store.manifest import MANIFEST, Manifest, Shard
from vdt_hpc.store.rows import Rows

_MAY_BE_INFINITE = "psnr_db"
"""The PSNR of a frame that is restored without an error."""
_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError)
"""What h5py raises about a damaged file."""


@dataclass(frozen=True)
class StoredClip:
    """A clip that can be read, though its values may be wrong."""

    clip_id: str
    split: Split
    path: Path
    """Its shard."""
    row: int
    """Its place in the shard."""


@dataclass(frozen=True)
class _Expected:
    """Shapes without the number of clips, and types, as they follow from the configuration."""

    moments: tuple[int, ...]
    """(flips, T, C, h, w)"""
    frames: tuple[int, ...]
    """(T, H, W, 3)"""

    @classmethod
    def of(cls, config: RunConfig) -> _Expected:
        data, autoencoder = config.data, config.autoencoder
        flips, cells = 2 if autoencoder.both_flips else 1, (config.latent_height, config.latent_width)
        moments = flips, data.frames_per_clip, autoencoder.latent_channels, *cells
        return cls(moments, (data.frames_per_clip, data.frame_height_px, data.width_px, 3))


def check_shards(
    config: RunConfig, folder: Path, manifest: Manifest, findings: Findings, stop: StopFlag
) -> list[StoredClip]:
    """Check all shards; returns the clips of those that can be read, in the manifest's order.

    Raises:
        Stopped: a signal came.
    """
    before = len(findings.faults)
    listed = {shard.file for shard in manifest.shards}
    for path in sorted(folder.glob("*.h5")):
        if path.name not in listed:
            findings.fault(f"{path.name} is in the folder and not in {MANIFEST}")
    clips: list[StoredClip] = []
    with Progress("verify shards", len(manifest.shards), "shards") as progress:
        for shard in manifest.shards:
            clips += _check_shard(_Expected.of(config), folder, shard, findings, stop)
            progress.advance()
    _check_names(clips, findings)
    if len(findings.faults) == before:
        findings.check(
            f"{len(clips):,} clips in {len(manifest.shards):,} shards: hashes, counts, shapes, types, finite values, "
            "clip ids"
        )
    return clips


def _check_shard(
    expected: _Expected, folder: Path, shard: Shard, findings: Findings, stop: StopFlag
) -> list[StoredClip]:
    path = folder / shard.file
    if shard.split not in SPLITS:
        findings.fault(f"{shard.file} is of a split {shard.split}; there are {', '.join(SPLITS)}")
        return []
    try:
        stop.check()
        if files.sha256(path) != shard.sha256:
            findings.fault(f"{shard.file} has another SHA-256 than {MANIFEST} states")
        with h5py.File(path) as file:
            return _check_content(expected, file, path, shard, findings, stop)
    except FileNotFoundError:
        findings.fault(f"{shard.file} is missing")
    except _DAMAGE as error:
        findings.fault(f"{shard.file} cannot be read ({' '.join(str(error).split())})")
    return []


def _check_content(
    expected: _Expected, file: h5py.File, path: Path, shard: Shard, findings: Findings, stop: StopFlag
) -> list[StoredClip]:
    """Check the datasets of an open shard; its clips where their shapes are right, else nothing."""
    clip_ids = [str(name) for name in file["clip_id"].asstr()[:]]
    num_clips = len(clip_ids)
    if num_clips != shard.num_clips:
        findings.fault(f"{shard.file} has {num_clips} clips, {MANIFEST} states {shard.num_clips}")
    wanted: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {
        "mean": ((num_clips, *expected.moments), np.float16),
        "std": ((num_clips, *expected.moments), np.float16),
    }
    if shard.split in MEASURED_SPLITS:
        wanted["frames"] = ((num_clips, *expected.frames), np.uint8)
    fits = [_fits(file, name, shape, dtype, findings, shard.file) for name, (shape, dtype) in wanted.items()]
    _check_ceiling(file, (num_clips, expected.moments[1]), findings, shard.file)
    if not all(fits):
        return []
    _check_values(file, clip_ids, findings, shard.file, stop)
    return [StoredClip(clip_id, shard.split, path, row) for row, clip_id in enumerate(clip_ids)]


def _fits(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, findings: Findings, where: str
) -> bool:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        findings.fault(f"{where} has no {name}")
        return False
    if dataset.shape != shape or dataset.dtype != np.dtype(dtype):
        found, wanted = f"{dataset.shape} {dataset.dtype}", f"{shape} {np.dtype(dtype)}"
        findings.fault(f"{where} has {name} {found} where the run gives {wanted}")
        return False
    return True


def _check_ceiling(file: h5py.File, shape: tuple[int, int], findings: Findings, where: str) -> None:
    """What the autoencoder's reconstruction measures, where that is stored."""
    for metric in file.get("ceiling", ()):
        name = f"ceiling/{metric}"
        if _fits(file, name, shape, np.float32, findings, where):
            values = file[name][:]
            sound = np.isfinite(values)
            if metric == _MAY_BE_INFINITE:
                sound |= np.isposinf(values)
            if not sound.all():
                findings.fault(f"{where} has {name} that is not finite in {int((~sound).sum())} frames")


def _check_values(file: h5py.File, clip_ids: list[str], findings: Findings, where: str, stop: StopFlag) -> None:
    """Moments must be numbers and deviations positive; read as training reads them."""
    rows = {name: Rows(file[name]) for name in ("mean", "std")}
    buffer: npt.NDArray[Any] = np.empty(rows["mean"].shape[1:], np.float16)
    wrong: dict[str, list[str]] = collections.defaultdict(list)
    for row, clip_id in enumerate(clip_ids):
        stop.check()
        for name, stored in rows.items():
            stored.read_into(row, 0, buffer)
            if not np.isfinite(buffer).all():
                wrong[f"{name} that is not finite"].append(clip_id)
            elif name == "std" and not (buffer > 0).all():
                wrong["std that is not positive"].append(clip_id)
    for what, names in wrong.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        findings.fault(f"{where} has {what} in clip {names[0]}{others}")


def _check_names(clips: list[StoredClip], findings: Findings) -> None:
    first: dict[str, StoredClip] = {}
    for clip in clips:
        earlier = first.setdefault(clip.clip_id, clip)
        if earlier is not clip:
            findings.fault(f"the clip id {clip.clip_id} is in {earlier.path.name} and again in {clip.path.name}")
