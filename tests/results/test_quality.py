"""PSNR is the formula, SSIM is scikit-image, on random and on adversarial pictures."""

import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from results.pixels import Pixels
from results.quality import psnr, ssim


def noise(seed, shape=(3, 24, 20, 3), low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.uint8)


def one_pixel():
    frames = np.zeros((3, 24, 20, 3), np.uint8)
    frames[1, 12, 10, 0] = 255
    return frames


PAIRS = {
    "random": (noise(0), noise(1)),
    "a little noise": (noise(0, high=250), noise(0, high=250) + noise(2, high=5)),
    "constant": (np.full((3, 24, 20, 3), 7, np.uint8), np.full((3, 24, 20, 3), 8, np.uint8)),
    "saturated": (np.zeros((3, 24, 20, 3), np.uint8), np.full((3, 24, 20, 3), 255, np.uint8)),
    "one pixel": (np.zeros((3, 24, 20, 3), np.uint8), one_pixel()),
}


@pytest.mark.parametrize("name", PAIRS)
def test_psnr_is_the_formula(name):
    one, other = PAIRS[name]
    squares = [(int(a) - int(b)) ** 2 for a, b in zip(one.ravel(), other.ravel(), strict=True)]
    expected = 10 * math.log10(255**2 / (sum(squares) / len(squares)))
    assert psnr(Pixels(one), Pixels(other)) == pytest.approx(expected, abs=1e-9)
    assert psnr(Pixels(other), Pixels(one)) == psnr(Pixels(one), Pixels(other))


@pytest.mark.parametrize("name", PAIRS)
def test_ssim_is_scikit_image(name):
    one, other = PAIRS[name]
    expected = np.mean([
        structural_similarity(a, b, channel_axis=2, gaussian_weights=True, sigma=1.5,
                              use_sample_covariance=False, data_range=255)
        for a, b in zip(one, other, strict=True)
    ])  # fmt: skip
    assert ssim(Pixels(one), Pixels(other)) == pytest.approx(expected, abs=1e-12)


def test_saturated_against_black_is_the_worst_psnr():
    assert psnr(*map(Pixels, PAIRS["saturated"])) == 0


def test_identical_clips():
    clip = Pixels(noise(0))
    assert psnr(clip, clip) == math.inf
    assert ssim(clip, clip) == 1


def test_a_wrong_range_would_cost_6_decibels():
    """What the boundary prevents: [-1, 1] read as if it were [0, 1] doubles every difference."""
    one, other = PAIRS["random"]
    right = psnr(Pixels.of(one / 255.0), Pixels.of(other / 255.0))
    difference = (one / 127.5 - 1) - (other / 127.5 - 1)
    assert right - 10 * math.log10(1 / np.mean(difference**2)) == pytest.approx(20 * math.log10(2))
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        Pixels.of(np.linspace(-1, 1, 192).reshape(8, 8, 3))
