"""Small frames, videos and autoencoders, made on the spot."""

import numpy as np
from PIL import Image

from preprocess.source.cityscapes import frame_name
from vdt_hpc.experiment.paths import CITYSCAPES_TREE


def write_sequence(folder, split, city, sequence, frames, size_px=(48, 24), level=None):
    """PNG files of one sequence; the picture tells the frame number."""
    home = folder / CITYSCAPES_TREE / split / city
    home.mkdir(parents=True, exist_ok=True)
    width_px, height_px = size_px
    ramp = np.linspace(0, 120, width_px).astype(np.uint8)
    for frame in frames:
        pixels = np.zeros((height_px, width_px, 3), np.uint8)
        pixels[..., 0] = ramp
        pixels[..., 1] = (frame * 7 + sequence * 40) % 256 if level is None else level
        pixels[: height_px // 2, :, 2] = 200
        Image.fromarray(pixels).save(home / frame_name(city, sequence, frame))


def save_autoencoder(folder, seed, **changes):
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    options = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "scaling_factor": 0.5} | changes
    levels = len(options["block_out_channels"])
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels, **options
    )
    model.save_pretrained(folder)
    return folder
