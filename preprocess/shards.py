"""Which clips make which shard, and how the clips of one become its content.

Legend: T frames, h x w pixels of a frame, C latent channels, y x x latent cells; flip 0 as filmed, 1 mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from preprocess.frames import ByteArray, Clip
from preprocess.source.index import Index
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import SPLITS, RunConfig, Split
from vdt_hpc.experiment.size import MEASURED_SPLITS
from vdt_hpc.model import autoencoder as autoencoders
from vdt_hpc.store import latents
from vdt_hpc.store.latents import ShardContent

if TYPE_CHECKING:
    from preprocess.ceiling import Ceiling
    from vdt_hpc.model.autoencoder import Autoencoder
    from vdt_hpc.store.latents import FloatArray, HalfArray


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be."""

    path: Path
    split: Split
    clips: tuple[Clip, ...]

    @property
    def num_frames(self) -> int:
        """Frames of all its clips."""
        return sum(clip.num_frames for clip in self.clips)


def plan_shards(index: Index, folder: Path, clips_per_shard: int) -> list[ShardPlan]:
    """The shards of all splits, in the order of the manifest."""
    plans = []
    for split in SPLITS:
        clips = index.split(split)
        for number, start in enumerate(range(0, len(clips), clips_per_shard)):
            path = folder / latents.shard_name(split, number)
            plans.append(ShardPlan(path, split, clips[start : start + clips_per_shard]))
    return plans


def encode_clip(autoencoder: Autoencoder, pixels: ByteArray, config: RunConfig) -> tuple[HalfArray, HalfArray]:
    """Mean and standard deviation of a clip's posterior, each (flips, T, C, y, x) float16, from (T, h, w, 3).

    Both flips pass the autoencoder together, in batches that depend on nothing but the clip's length: the same latents
    come out whoever encodes the clip, and after whatever.
    """
    flips = [pixels, pixels[:, :, ::-1]] if config.autoencoder.both_flips else [pixels]
    moments = autoencoders.encode(autoencoder, np.concatenate(flips), config.autoencoder.frames_per_batch)
    mean, deviation = (each.numpy().reshape(len(flips), len(pixels), *each.shape[1:]) for each in moments)
    return mean.astype(np.float16), deviation.astype(np.float16)


@dataclass
class ShardInProgress:
    """A shard while its clips are encoded.

    Args:
        split: of its clips.
        config: the run.
        ceiling: measures the reconstructions of splits that are measured.
        exact: the autoencoder in fp32, where the other is not; the first clip is encoded by it too.
    """

    split: Split
    config: RunConfig
    ceiling: Ceiling | None
    exact: Autoencoder | None
    _clip_ids: list[str] = field(default_factory=list)
    _moments: list[tuple[HalfArray, HalfArray]] = field(default_factory=list)
    _frames: list[ByteArray] = field(default_factory=list)
    _ceilings: list[dict[str, FloatArray]] = field(default_factory=list)
    _left_out: list[str] = field(default_factory=list)
    _bf16_deviation: float | None = None

    def leave_out(self, reason: str) -> None:
        """Go on without a clip."""
        self._left_out.append(reason)

    def add(self, clip: Clip, pixels: ByteArray, autoencoder: Autoencoder) -> None:
        """Encode a clip's frames (T, h, w, 3).

        Raises:
            UserError: its latents are not finite in half precision.
        """
        mean, deviation = encode_clip(autoencoder, pixels, self.config)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            raise UserError(f"the autoencoder {autoencoder.source} gives no finite latents for clip {clip.clip_id}")
        if self.exact is not None and not self._moments:
            self._bf16_deviation = relative_rms(mean, encode_clip(self.exact, pixels, self.config)[0])
        if self.split in MEASURED_SPLITS:
            self._frames.append(pixels)
            if self.ceiling is not None:
                self._ceilings.append(self.ceiling.measure(pixels, mean[0]))
        self._clip_ids.append(clip.clip_id)
        self._moments.append((mean, deviation))

    def content(self) -> ShardContent:
        """What is written."""
        return ShardContent(
            clip_ids=tuple(self._clip_ids),
            mean=self._stacked(0),
            std=self._stacked(1),
            frames=np.stack(self._frames) if self._frames else None,
            ceiling=self._ceiling_by_metric(),
            left_out=tuple(self._left_out),
            bf16_deviation=self._bf16_deviation,
        )

    def _stacked(self, moment: int) -> HalfArray:
        """Means (0) or deviations (1) of all clips, (clips, flips, T, C, y, x); there may be no clips."""
        coder = self.config.autoencoder
        shape = (2 if coder.both_flips else 1, self.config.data.frames_per_clip, coder.latent_channels)
        cells = (self.config.latent_height, self.config.latent_width)
        parts = [moments[moment] for moments in self._moments]
        return np.stack(parts) if parts else np.empty((0, *shape, *cells), np.float16)

    def _ceiling_by_metric(self) -> dict[str, FloatArray]:
        metrics = self._ceilings[0] if self._ceilings else {}
        return {metric: np.stack([each[metric] for each in self._ceilings]) for metric in metrics}


def relative_rms(one: HalfArray, exact: HalfArray) -> float:
    """Root mean square of the difference, as a fraction of the root mean square of what is exact."""
    difference = one.astype(np.float64) - exact
    return float(np.sqrt(np.square(difference).mean() / np.square(exact.astype(np.float64)).mean()))
