"""SSIM with the lab report's faults."""

import numpy as np

from results.metrics.base import FloatArray, FrameMetric
from vdt_hpc.quality.pixels import Pixels, check_pair

SIGMA, WINDOW_PX = 1.5, 11
C1, C2 = 0.01**2, 0.03**2


def ssim_by_frame_of_the_lab(truth: Pixels, other: Pixels) -> FloatArray:
    """SSIM of each frame with pixels in [-1, 1] and the constants of [0, 1]; windows beyond the frame see zeros.

    On values around zero the term of luminance turns negative, so that the result is too low.
    """
    check_pair(truth, other)
    pairs = zip(truth.values, other.values, strict=True)
    return np.array([_map(one / 127.5 - 1.0, two / 127.5 - 1.0).mean() for one, two in pairs])


def _map(one: FloatArray, two: FloatArray) -> FloatArray:
    """SSIM at every pixel of a frame (H, W, 3)."""
    mean_one, mean_two = _window(one), _window(two)
    variance_one = _window(one * one) - mean_one**2
    variance_two = _window(two * two) - mean_two**2
    covariance = _window(one * two) - mean_one * mean_two
    luminance = (2 * mean_one * mean_two + C1) / (mean_one**2 + mean_two**2 + C1)
    found: FloatArray = luminance * (2 * covariance + C2) / (variance_one + variance_two + C2)
    return found


def _window(image: FloatArray) -> FloatArray:
    from scipy.ndimage import gaussian_filter

    radius = WINDOW_PX // 2
    found: FloatArray = gaussian_filter(image, SIGMA, mode="constant", radius=radius, axes=(0, 1))
    return found


METRIC = FrameMetric(
    name="ssim-lab", label="SSIM (lab)", unit="", direction="up", value_range="-1 to 1 (identical)", num_digits=3,
    how="faulty on purpose: pixels in [-1, 1] with the constants of [0, 1]; mean over all frames, given ones too",
    citation="the lab report's code", needs=None, open=lambda: ssim_by_frame_of_the_lab, is_of_all_frames=True,
)  # fmt: skip
