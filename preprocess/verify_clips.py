"""A few clips of a set of latents against their source: read, prepared and encoded once more.

On the machine and the device that encoded them they come out equal to the byte. Elsewhere another order of additions
and, on GPUs, products of 10-bit fractions move them; so they may differ by `TOLERANCE`.

Legend: T frames, S pixels of a square frame, C latent channels, h x w latent cells.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np
import numpy.typing as npt

from preprocess.findings import Findings
from preprocess.frames import ByteArray, Clip
from preprocess.shards import encode_clip
from preprocess.source.opening import open_index, source_fingerprint
from preprocess.verify_shards import StoredClip
from vdt_hpc import dist
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import SPLITS, RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.size import MEASURED_SPLITS
from vdt_hpc.model import autoencoder as autoencoders
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import StopFlag
from vdt_hpc.store.manifest import Manifest

if TYPE_CHECKING:
    from vdt_hpc.model.autoencoder import Autoencoder
    from vdt_hpc.store.latents import HalfArray

NUM_CLIPS = 8
"""Clips that are looked at, from all splits."""
TOLERANCE = {"fp32": 2.0**-6, "bf16": 2.0**-3}
"""Largest difference that another machine may make, by `encode_precision`, as a fraction of the root mean square (RMS):
16 steps of half precision, and as many of bfloat16, whose steps are 8 times as coarse. With the demo's autoencoder,
products rounded as in TF32 make 0.003, all of it in bf16 makes 0.03."""

PART = "the latents against their frames"
FloatArray = npt.NDArray[np.float32]


@dataclass
class _Tally:
    """How the clips that were encoded again compare."""

    num_equal: int = 0
    """Clips that are equal to the byte."""
    num_close: int = 0
    """Clips within the tolerance."""
    num_frames: int = 0
    """Clips whose stored frames are the source's."""
    largest: float = 0.0
    """Largest difference of those within the tolerance."""


def check_clips(
    config: RunConfig, paths: RunPaths, manifest: Manifest, clips: list[StoredClip], findings: Findings,
    stop: StopFlag, task: dist.Task,
) -> None:  # fmt: skip
    """Compare a sample of the clips with the source; where that is not here, say so.

    Raises:
        Stopped: a signal came.
    """
    chosen = sample_clips(clips, manifest.fingerprint)
    if not chosen:
        findings.leave(f"{PART} (no shard can be read)")
        return
    source = _source_clips(config, paths, manifest, findings)
    if source is None:
        return
    autoencoder = _autoencoder(config, manifest, findings, task)
    tally = _Tally()
    with Progress("verify clips", len(chosen), "clips") as progress:
        for stored in chosen:
            stop.check()
            if stored.clip_id not in source:
                findings.fault(f"clip {stored.clip_id} of {stored.path.name} is not in the frames at {paths.frames}")
            else:
                _compare(config, stored, source[stored.clip_id], autoencoder, findings, tally)
            progress.advance()
    _tell(config, tally, findings)


def sample_clips(clips: list[StoredClip], fingerprint: str) -> list[StoredClip]:
    """The clips to look at: one of each split, then any; the same for the same latents."""
    draw = random.Random(fingerprint)
    shuffled = draw.sample(clips, len(clips))
    first = [next((clip for clip in shuffled if clip.split == split), None) for split in SPLITS]
    chosen = [clip for clip in first if clip is not None]
    others = [clip for clip in shuffled if clip not in chosen]
    return [*chosen, *others[: NUM_CLIPS - len(chosen)]]


def _source_clips(config: RunConfig, paths: RunPaths, manifest: Manifest, findings: Findings) -> dict[str, Clip] | None:
    """The source's clips by name, or None where they are not on this machine."""
    try:
        fingerprint = source_fingerprint(config, paths)
    except UserError as error:
        findings.leave(f"{PART} ({error})")
        return None
    if fingerprint is None:
        findings.leave(f"{PART} (no frames at {paths.frames})")
        return None
    if fingerprint != manifest.source_fingerprint:
        findings.fault(
            f"the frames at {paths.frames} are not those that the latents were made from, by names and sizes"
        )
    try:
        return {clip.clip_id: clip for clip in open_index(config, paths).clips}
    except UserError as error:
        findings.fault(str(error))
        return None


def _autoencoder(config: RunConfig, manifest: Manifest, findings: Findings, task: dist.Task) -> Autoencoder | None:
    """The autoencoder that made the latents, or None where it is not on this machine."""
    import torch

    torch.set_num_threads(dist.cpus_of_task(task))
    try:
        autoencoder = autoencoders.load(
            config.autoencoder, dist.device_of(task), fetch=False, precision=config.autoencoder.encode_precision
        )
    except UserError as error:
        findings.leave(f"the moments against the autoencoder's ({error})")
        return None
    other = [name for name, value in autoencoder.identity().items() if manifest.autoencoder.get(name) != value]
    if other:
        source, names = autoencoder.source, " and ".join(other)
        findings.fault(f"the autoencoder {source} is not the one that the latents were made with, by {names}")
        return None
    return autoencoder


def _again(config: RunConfig, clip: Clip, autoencoder: Autoencoder | None) -> tuple[ByteArray, list[HalfArray]]:
    """A clip as the stage `encode` prepares it, (T, S, S, 3), and its moments, each (flips, T, C, h, w)."""
    pixels = clip.prepared(config.data)
    return pixels, [*encode_clip(autoencoder, pixels, config)] if autoencoder else []


def _compare(
    config: RunConfig, stored: StoredClip, clip: Clip, autoencoder: Autoencoder | None, findings: Findings,
    tally: _Tally,
) -> None:  # fmt: skip
    name = f"clip {stored.clip_id} of {stored.path.name}"
    try:
        pixels, moments = _again(config, clip, autoencoder)
    except UserError as error:
        findings.fault(str(error))
        return
    if clip.split != stored.split:
        findings.fault(f"{name} belongs to the split {clip.split} by its frames")
    with h5py.File(stored.path) as file:
        kept: list[HalfArray] = [file[each][stored.row] for each in ("mean", "std")]
        frames = file["frames"][stored.row] if stored.split in MEASURED_SPLITS else None
    if frames is not None:
        if np.array_equal(frames, pixels):
            tally.num_frames += 1
        else:
            findings.fault(f"{name} holds other frames than its source gives")
    if not moments:
        return
    if all(one.tobytes() == other.tobytes() for one, other in zip(kept, moments, strict=True)):
        tally.num_equal += 1
        return
    largest = _difference(kept, moments)
    if largest <= TOLERANCE[config.autoencoder.encode_precision]:
        tally.num_close += 1
        tally.largest = max(tally.largest, largest)
    else:
        findings.fault(f"{name} holds other latents than its frames give: they differ by {largest:.3g} of their RMS")


def _difference(kept: list[HalfArray], moments: list[HalfArray]) -> float:
    """Largest difference of the network's two outputs, as a fraction of their root mean square; NaN if one has NaN.

    These are the mean and the logarithm of the variance: the deviation itself spans powers of ten. Its logarithm may be
    near zero everywhere, where a step of half precision is no small fraction, so it counts as 1 at least.
    """
    (mean, std), (new_mean, new_std) = ([part.astype(np.float32) for part in parts] for parts in (kept, moments))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs, new_logs = 2 * np.log(std), 2 * np.log(new_std)
        of_mean = np.abs(new_mean - mean).max() / np.maximum(np.finfo(np.float32).tiny, _rms(mean))
        of_logs = np.abs(new_logs - logs).max() / np.maximum(1.0, _rms(logs))
    return float(np.maximum(of_mean, of_logs))


def _rms(values: FloatArray) -> FloatArray:
    return np.sqrt(np.square(values).mean())


def _tell(config: RunConfig, tally: _Tally, findings: Findings) -> None:
    if tally.num_frames:
        findings.check(f"frames of sampled clips: {tally.num_frames} the source's, to the byte")
    if tally.num_equal:
        findings.check(f"sampled clips encoded again: {tally.num_equal} equal to the byte")
    if tally.num_close:
        tolerance = TOLERANCE[config.autoencoder.encode_precision]
        findings.check(
            f"sampled clips encoded again: {tally.num_close} not to the byte, yet within what another machine or device"
            f" may change: at most {tally.largest:.2g} of their RMS ({tolerance:.2g} allowed)"
        )
