"""What an encode will do, before it does it: clips, bytes in and out, room on the disk, and time by a short trial."""

from __future__ import annotations

import itertools
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from preprocess.frames import ByteArray, Clip
from preprocess.geometry import prepare
from preprocess.shards import ShardPlan, encode_clip
from preprocess.source.index import Index
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig, Split
from vdt_hpc.experiment.size import MEASURED_SPLITS, shards_bytes

if TYPE_CHECKING:
    from vdt_hpc.model.autoencoder import Autoencoder

TRIAL_FRAMES = 4
TRIAL_ROUNDS, TRIAL_S = 6, 3.0
"""Rounds of encoding; a trial ends with whichever comes first, but not before its second round."""


def describe(config: RunConfig, index: Index, plans: Sequence[ShardPlan], folder: Path) -> str:
    """Clips, frames, bytes in and out, free space."""
    num_frames = sum(plan.num_frames for plan in plans)
    done = sum(plan.path.exists() for plan in plans)
    finished = f", {done} of them there already" if done else ""
    return (
        f"plan: {len(index.clips):,} clips of {num_frames:,} frames, {_gb(index.num_bytes)} in {index.num_files:,} "
        f"files, become {len(plans):,} shards{finished} of {_gb(num_bytes(config, plans))} in {folder}; "
        f"{_gb(_free_bytes(folder))} are free there"
    )


def num_bytes(config: RunConfig, plans: Sequence[ShardPlan]) -> int:
    """Bytes of shards."""
    num_clips: Counter[Split] = Counter()
    for plan in plans:
        num_clips[plan.split] += len(plan.clips)
    return shards_bytes(config, num_clips)


def require_space(config: RunConfig, plans: Sequence[ShardPlan], folder: Path) -> None:
    """Refuse to begin what cannot be finished.

    Raises:
        UserError: the shards that are missing need more than is free.
    """
    needed = num_bytes(config, [plan for plan in plans if not plan.path.exists()])
    free = _free_bytes(folder)
    if needed > free:
        raise UserError(f"latents need {_gb(needed)}, and {_gb(free)} are free in {folder}; free some, or set --root")


def estimate(config: RunConfig, missing: Sequence[ShardPlan], autoencoder: Autoencoder, num_workers: int) -> str:
    """How long the missing shards take, by a trial on a few frames of the first that can be read.

    Reading and encoding go on at once; on a machine without a GPU they share the cores.
    """
    tried = None
    for clip in missing[0].clips:
        try:
            tried = _try_out(config, clip, autoencoder)
            break
        except UserError:  # said again, or the clip left out, when its turn comes
            continue
    if tried is None:
        return "plan: no trial, since no clip of the first shard can be read"
    read_s, encode_s = tried
    num_frames = sum(plan.num_frames for plan in missing)
    parts = (read_s / num_workers, encode_s)
    seconds = num_frames * (sum(parts) if autoencoder.device.type == "cpu" else max(parts))
    ceiling = "; the ceiling, not tried, comes on top" if any(plan.split in MEASURED_SPLITS for plan in missing) else ""
    return (
        f"plan: about {seconds / 60:,.1f} min for this task's {num_frames:,} frames: in a trial, {_short(1 / read_s)} "
        f"frames/s were read by one of {num_workers} process(es), and {_short(1 / encode_s)} frames/s encoded on "
        f"{autoencoder.device}{ceiling}"
    )


def _try_out(config: RunConfig, clip: Clip, autoencoder: Autoencoder) -> tuple[float, float]:
    """Seconds that a frame takes to prepare, in the median, and to encode (all flips), in the fastest round: the first
    ones warm up.
    """
    frames: list[ByteArray] = []
    read_s: list[float] = []
    moment_s = time.perf_counter()
    for image in itertools.islice(clip.images(), TRIAL_FRAMES):
        frames.append(prepare(image, config.data))
        read_s.append(time.perf_counter() - moment_s)
        moment_s = time.perf_counter()
    tried = np.stack(frames)
    encode_s: list[float] = []
    while len(encode_s) < 2 or (len(encode_s) < TRIAL_ROUNDS and sum(encode_s) < TRIAL_S):
        moment_s = time.perf_counter()
        encode_clip(autoencoder, tried, config)
        encode_s.append(time.perf_counter() - moment_s)
    return statistics.median(read_s), min(encode_s) / len(frames)


def _free_bytes(folder: Path) -> int:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(there).free


def _gb(size: int) -> str:
    return f"{_short(size / 1e9)} GB"


def _short(number: float) -> str:
    """Three digits, or all of a larger number before its point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
