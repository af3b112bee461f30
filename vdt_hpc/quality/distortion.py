"""PSNR and SSIM of a clip against its truth, by frame and over all frames that are handed in.

Legend: T frames, H x W pixels.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from vdt_hpc.quality.pixels import Pixels, check_pair, check_size

MAX_LEVEL = 255.0
SSIM_MIN_PX = 11
"""Side of SSIM's window: a Gaussian of sigma 1.5, cut at 3.5 sigma."""

FloatArray = npt.NDArray[np.float64]
Frame = npt.NDArray[np.uint8]


def mse_by_frame(truth: Pixels, other: Pixels) -> FloatArray:
    """Mean squared difference of each frame over pixels and colours, (T,), in squared levels of 0 to 255.

    The squares are added up as whole numbers, so that no order of adding changes a digit.

    Args:
        truth, other: (T, H, W, 3).

    Raises:
        ValueError: the shapes differ.
    """
    check_pair(truth, other)
    pairs = zip(truth.values, other.values, strict=True)
    sums = [int(np.sum((one.astype(np.int32) - two) ** 2, dtype=np.int64)) for one, two in pairs]
    return np.array(sums, dtype=np.float64) / truth.values[0].size


def psnr_of_mse(mse: npt.ArrayLike) -> FloatArray:
    """10 log10(255^2 / MSE) in dB, of each value; infinite where it is 0."""
    with np.errstate(divide="ignore"):
        decibels: FloatArray = 10 * np.log10(MAX_LEVEL**2 / np.asarray(mse, dtype=np.float64))
    return decibels


def psnr_by_frame(truth: Pixels, other: Pixels) -> FloatArray:
    """Peak signal-to-noise ratio of each frame: 10 log10(255^2 / MSE), (T,) in dB; infinite for identical frames.

    MSE is the mean squared difference over pixels and colours.

    Args:
        truth, other: (T, H, W, 3).

    Raises:
        ValueError: the shapes differ.
    """
    return psnr_of_mse(mse_by_frame(truth, other))


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
    return float(psnr_of_mse(mse_by_frame(truth, other).mean()))


def ssim_by_frame(truth: Pixels, other: Pixels) -> FloatArray:
    """Structural similarity of each frame, (T,) in [-1, 1]: scikit-image's, in colour.

    The settings are those of Wang et al. 2004: Gaussian window of sigma 1.5, population covariance, L = 255.

    Args:
        truth, other: (T, H, W, 3), H and W at least SSIM_MIN_PX.

    Raises:
        ValueError: the shapes differ, or the frames are smaller than the window.
    """
    return _ssim(truth, other, lambda frame: frame, channel_axis=-1)


def ssim_by_frame_grey(truth: Pixels, other: Pixels) -> FloatArray:
    """As `ssim_by_frame`, of frames made grey: 8 bits, (299 R + 587 G + 114 B) / 1000 as Pillow rounds it.

    Args:
        truth, other: (T, H, W, 3), H and W at least SSIM_MIN_PX.

    Raises:
        ValueError: the shapes differ, or the frames are smaller than the window.
    """
    return _ssim(truth, other, _grey, channel_axis=None)


def _ssim(truth: Pixels, other: Pixels, seen: Callable[[Frame], Frame], channel_axis: int | None) -> FloatArray:
    from skimage.metrics import structural_similarity

    check_pair(truth, other)
    check_size(truth, SSIM_MIN_PX)
    values = [
        structural_similarity(
            seen(one), seen(two), channel_axis=channel_axis, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, data_range=MAX_LEVEL,
        )
        for one, two in zip(truth.values, other.values, strict=True)
    ]  # fmt: skip
    return np.array(values, dtype=np.float64)


def _grey(frame: Frame) -> Frame:
    from PIL import Image

    return np.asarray(Image.fromarray(frame).convert("L"))


def ssim(truth: Pixels, other: Pixels) -> float:
    """Structural similarity of a clip, in [-1, 1]: the mean over its frames; see `ssim_by_frame`."""
    return float(np.mean(ssim_by_frame(truth, other)))
