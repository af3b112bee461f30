"""PSNR and SSIM of a clip against its truth; both over the frames that are handed in, all of them."""

import math

import numpy as np

from results.pixels import Pixels, check_pair

MAX_LEVEL = 255.0


def psnr(truth: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio of a clip: 10 log10(255^2 / MSE), in dB.

    MSE is the mean squared difference over frames, pixels and colours of the clip together, as MCVD
    (arXiv 2205.09853) takes it; a mean over the PSNR of single frames would be at least as high. Identical clips
    give infinity.

    Args:
        truth, other: (T, H, W, 3).

    Raises:
        ValueError: the shapes differ.
    """
    check_pair(truth, other)
    difference = truth.values.astype(np.float64) - other.values.astype(np.float64)
    mse = float(np.mean(difference**2))
    return 10 * math.log10(MAX_LEVEL**2 / mse) if mse > 0 else math.inf


def ssim(truth: Pixels, other: Pixels) -> float:
    """Structural similarity of a clip, in [-1, 1]: the mean over its frames of scikit-image's, in colour.

    The settings are those of Wang et al. 2004: Gaussian window of sigma 1.5, population covariance, L = 255.

    Args:
        truth, other: (T, H, W, 3), H and W at least 11.

    Raises:
        ValueError: the shapes differ, or the frames are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    check_pair(truth, other)
    values = [
        structural_similarity(
            one, two, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            data_range=MAX_LEVEL,
        )
        for one, two in zip(truth.values, other.values, strict=True)
    ]  # fmt: skip
    return float(np.mean(values))
