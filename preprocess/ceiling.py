"""What the autoencoder's reconstruction of the measured splits scores: the ceiling, which no latent model can beat.

    pixels, stored mean -> psnr_db, ssim, lpips of each frame -> (summary) means of a split, for the manifest

Legend: T frames, H x W pixels, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from preprocess.frames import ByteArray
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.weights import ALEXNET
from vdt_hpc.model import autoencoder as autoencoders
from vdt_hpc.quality.distortion import SSIM_MIN_PX, psnr_by_frame, ssim_by_frame
from vdt_hpc.quality.perception import LPIPS_MIN_PX, open_lpips
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.quality.weights import reason_if_missing

if TYPE_CHECKING:
    from vdt_hpc.model.autoencoder import Autoencoder
    from vdt_hpc.store.latents import FloatArray

METRICS = ("psnr_db", "ssim", "lpips")
IDENTICAL = "num_identical_frames"
"""In a summary, how many frames are reconstructed without one wrong bit; their PSNR is infinite."""


class Ceiling:
    """Measures reconstructions from the latents as they are stored.

    What cannot be measured here, LPIPS without its weights and what needs larger frames, is left out of all of them;
    the weights are never fetched.

    Args:
        autoencoder: what made the latents; it decodes in its own arithmetic.
        config: the run, for the size of its frames and `autoencoder.frames_per_batch`.

    Raises:
        UserError: LPIPS's file of weights holds another network's.
    """

    def __init__(self, autoencoder: Autoencoder, config: RunConfig) -> None:
        self._autoencoder, self._frames_per_batch = autoencoder, config.autoencoder.frames_per_batch
        side_px = min(config.data.frame_height_px, config.data.width_px)
        self._measures: dict[str, Callable[[Pixels, Pixels], npt.NDArray[np.float64]]] = {"psnr_db": psnr_by_frame}
        reasons = []
        if side_px >= SSIM_MIN_PX:
            self._measures["ssim"] = ssim_by_frame
        else:
            reasons.append(f"no SSIM: frames of {side_px} px are smaller than its window of {SSIM_MIN_PX} px")
        if side_px < LPIPS_MIN_PX:
            reasons.append(f"no LPIPS: frames of {side_px} px are smaller than the {LPIPS_MIN_PX} px that it needs")
        elif reason := reason_if_missing(ALEXNET):
            reasons.append(f"no LPIPS: {reason}")
        else:
            self._measures["lpips"] = open_lpips(autoencoder.device)
        self._missing = "; ".join(reasons) or None

    @property
    def missing(self) -> str | None:
        """Which metrics are not measured and why, one line for people; None: all are."""
        return self._missing

    def measure(self, pixels: ByteArray, mean: npt.NDArray[Any]) -> dict[str, FloatArray]:
        """What the reconstruction of one clip scores, by metric: each (T,) float32.

        Args:
            pixels: the true frames, (T, H, W, 3) uint8.
            mean: the posterior's mean, (T, C, h, w) float16 or float32, not scaled; it is rounded to the half
                precision in which latents are stored.

        Raises:
            ValueError: the shapes do not fit, or the decoder gives values that are not finite.
        """
        import torch

        stored = torch.from_numpy(mean.astype(np.float16).astype(np.float32))
        decoded = Pixels(autoencoders.decode(self._autoencoder, stored, self._frames_per_batch))
        truth = Pixels(pixels)
        return {metric: compare(truth, decoded).astype(np.float32) for metric, compare in self._measures.items()}


def summary(shard_ceilings: Iterable[Mapping[str, FloatArray]]) -> dict[str, float | None]:
    """Means over all frames of a split, for its manifest.

    An infinite PSNR has no place in a mean (nor in JSON): the mean of `psnr_db` is over the frames that differ from
    their truth, and `num_identical_frames` says how many were left out of it for that.

    Args:
        shard_ceilings: of each shard by metric, (clips, T), as `ShardContent.ceiling` holds them.

    Returns:
        `psnr_db`, `ssim` and `lpips`: the mean, or None where a shard has no such numbers (or, for PSNR, where all
        frames are identical); `num_identical_frames`.
    """
    shards = list(shard_ceilings)
    means: dict[str, float | None] = {}
    for metric in METRICS:
        parts = [shard[metric].ravel() for shard in shards if metric in shard]
        values = np.concatenate(parts).astype(np.float64) if parts and len(parts) == len(shards) else np.zeros(0)
        values = values[~np.isposinf(values)]
        means[metric] = float(values.mean()) if len(values) else None
    means[IDENTICAL] = float(sum(np.count_nonzero(np.isposinf(shard.get("psnr_db", ()))) for shard in shards))
    return means
