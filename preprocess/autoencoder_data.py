"""Frames to fit a small autoencoder to, and what is measured of it.

Legend: N frames, H x W pixels of one in memory, h x w of one as it is encoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from preprocess.frames import Clip
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.data_config import DataConfig
from vdt_hpc.progress import Progress

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

FRAME_STRIDE = 3
"""Neighbouring frames teach nearly the same: every third is kept in memory."""
FRAMES_PER_BATCH = 64

ByteArray = npt.NDArray[np.uint8]


def load_frames(clips: tuple[Clip, ...], data: DataConfig) -> ByteArray:
    """Every third frame of the clips, (N, H, W, 3), shrunk as far as twice the size that is encoded allows."""
    frames: list[ByteArray] = []
    with Progress("read frames", len(clips), "clips") as progress:
        for clip in clips:
            for image in clip.read()[::FRAME_STRIDE]:
                height_px, width_px = image.shape[:2]
                scale = 2 * max(data.frame_height_px / height_px, data.width_px / width_px)
                if scale < 1:
                    size = (round(width_px * scale), round(height_px * scale))
                    image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
                frames.append(image)
            progress.advance()
    if len({image.shape for image in frames}) != 1:
        raise UserError("the training frames have different sizes; train the autoencoder on one camera's frames")
    return np.stack(frames)


def squares(clips: tuple[Clip, ...], data: DataConfig, most_frames: int | None) -> ByteArray:
    """Frames (N, h, w, 3) as the encoder sees them; where there are more than ``most_frames``, evenly spaced clips."""
    if not clips:
        raise UserError("the frames have no clips in one of the splits train and test; both are needed")
    step = 1 if most_frames is None else max(1, sum(clip.num_frames for clip in clips) // most_frames)
    return np.concatenate([clip.prepared(data) for clip in clips[::step]])


def latent_scales(model: AutoencoderKL, frames: ByteArray) -> tuple[float, float]:
    """Standard deviation of the posterior means of frames (N, h, w, 3), and root mean square of the posterior's own."""
    from vdt_hpc.model.autoencoder import Autoencoder, encode

    mean, deviation = encode(Autoencoder(model, "", "", 1.0), frames, FRAMES_PER_BATCH)
    return float(mean.std()), float(deviation.square().mean().sqrt())


def reconstruction_psnr_db(model: AutoencoderKL, frames: ByteArray) -> npt.NDArray[np.float64]:
    """PSNR in dB of each frame (N, h, w, 3): uint8 against the uint8 reconstruction from the posterior's mean."""
    from vdt_hpc.model.autoencoder import Autoencoder, decode, encode

    loaded = Autoencoder(model, "", "", 1.0)
    mean, _ = encode(loaded, frames, FRAMES_PER_BATCH)
    restored = decode(loaded, mean, FRAMES_PER_BATCH)
    squared = (restored.astype(np.float64) - frames.astype(np.float64)) ** 2
    psnr_db: npt.NDArray[np.float64] = 10.0 * np.log10(255.0**2 / np.maximum(squared.mean(axis=(1, 2, 3)), 1e-9))
    return psnr_db
