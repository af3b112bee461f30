"""Which clips make which shard, and what one clip becomes.

Legend: T frames, S pixels of a square frame, C latent channels, h x w latent cells; flip 0 as filmed, 1 mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from preprocess.frames import ByteArray, Clip
from preprocess.sources import Source
from vdt_hpc.experiment.config import SPLITS, RunConfig, Split
from vdt_hpc.model import autoencoder as autoencoders
from vdt_hpc.store import latents

if TYPE_CHECKING:
    from vdt_hpc.model.autoencoder import Autoencoder
    from vdt_hpc.store.latents import HalfArray


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be."""

    path: Path
    split: Split
    clips: tuple[Clip, ...]


def plan_shards(source: Source, folder: Path, clips_per_shard: int) -> list[ShardPlan]:
    """The shards of all splits, in the order of the manifest."""
    plans = []
    for split in SPLITS:
        clips = source.split(split)
        for index, start in enumerate(range(0, len(clips), clips_per_shard)):
            path = folder / latents.shard_name(split, index)
            plans.append(ShardPlan(path, split, clips[start : start + clips_per_shard]))
    return plans


def encode_clip(autoencoder: Autoencoder, pixels: ByteArray, config: RunConfig) -> tuple[HalfArray, HalfArray]:
    """Mean and standard deviation of a clip's posterior, each (flips, T, C, h, w) float16, from (T, S, S, 3)."""
    flips = [pixels, pixels[:, :, ::-1]] if config.autoencoder.both_flips else [pixels]
    moments = [autoencoders.encode(autoencoder, flip, config.autoencoder.frames_per_batch) for flip in flips]
    mean = np.stack([mean.numpy() for mean, _ in moments])
    deviation = np.stack([deviation.numpy() for _, deviation in moments])
    return mean.astype(np.float16), deviation.astype(np.float16)
