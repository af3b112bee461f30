"""The way of one frame from the camera's size to the autoencoder's.

Legend: H x W pixels as filmed, H' x W' as encoded. Always RGB uint8.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from preprocess.images import ByteArray
from vdt_hpc.experiment.data_config import DataConfig

_PILLOW_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "area": Image.Resampling.BOX}


def prepare(image: ByteArray, data: DataConfig) -> ByteArray:
    """Crop and resize a frame (H, W, 3) to (H', W', 3), as ``data.crop`` and ``data.resize`` say.

    A crop that has the right size already is not filtered. MCVD prepares Cityscapes by the largest square and Lanczos
    (1024 x 1024 out of 2048 x 1024, then 128 x 128).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a frame must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    cropped = _centre_square(image) if data.crop == "centre-square" else image
    height_px, width_px = data.frame_height_px, data.width_px
    if cropped.shape[:2] == (height_px, width_px):
        return np.ascontiguousarray(cropped)
    if data.resize == "bilinear":
        return _bilinear(cropped, height_px, width_px)
    picture = Image.fromarray(np.ascontiguousarray(cropped))
    return np.asarray(picture.resize((width_px, height_px), _PILLOW_FILTERS[data.resize]))


def _centre_square(image: ByteArray) -> ByteArray:
    height_px, width_px = image.shape[:2]
    side_px = min(height_px, width_px)
    top, left = (height_px - side_px) // 2, (width_px - side_px) // 2
    return image[top : top + side_px, left : left + side_px]


def _bilinear(image: ByteArray, height_px: int, width_px: int) -> ByteArray:
    """Between the four nearest pixels at any scale: torch's interpolate(align_corners=False, antialias=False)."""
    tops, bottoms, down = _neighbours(image.shape[0], height_px)
    lefts, rights, across = _neighbours(image.shape[1], width_px)
    down, across = down[:, None, None], across[:, None]
    upper, lower = image[tops].astype(np.float32), image[bottoms].astype(np.float32)
    upper = upper[:, lefts] * (1 - across) + upper[:, rights] * across
    lower = lower[:, lefts] * (1 - across) + lower[:, rights] * across
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)


def _neighbours(
    num_from: int, num_to: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Of each of ``num_to`` pixels along an axis: the pixels before and after its centre, and the weight of the latter.

    Beyond the centres of the outermost pixels these alone count.
    """
    centres = (np.arange(num_to) + 0.5) * (num_from / num_to) - 0.5
    centres = np.clip(centres, 0, num_from - 1)
    before = np.floor(centres).astype(np.intp)
    return before, np.minimum(before + 1, num_from - 1), (centres - before).astype(np.float32)
