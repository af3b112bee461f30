"""PSNR is the formula, SSIM is scikit-image, on random and on adversarial pictures."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.quality.pairs import noise, pairs
from vdt_hpc.quality.distortion import SSIM_MIN_PX, psnr, psnr_by_frame, ssim, ssim_by_frame, ssim_by_frame_grey
from vdt_hpc.quality.pixels import Pixels

PAIRS = pairs()


@pytest.mark.parametrize("name", PAIRS)
def test_psnr_is_the_formula(name):
    one, other = PAIRS[name]
    squares = [(int(a) - int(b)) ** 2 for a, b in zip(one.ravel(), other.ravel(), strict=True)]
    expected = 10 * math.log10(255**2 / (sum(squares) / len(squares)))
    assert psnr(Pixels(one), Pixels(other)) == pytest.approx(expected, abs=1e-9)
    assert psnr(Pixels(other), Pixels(one)) == psnr(Pixels(one), Pixels(other))


@pytest.mark.parametrize("name", PAIRS)
def test_psnr_by_frame_is_scikit_images(name):
    one, other = PAIRS[name]
    with np.errstate(divide="ignore"):  # of those of one pixel, two frames are identical
        expected = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(one, other, strict=True)]
    values = psnr_by_frame(Pixels(one), Pixels(other))
    assert values.dtype == np.float64 and values == pytest.approx(expected, abs=1e-9)
    assert psnr(Pixels(one), Pixels(other)) <= values.mean() + 1e-9


@pytest.mark.parametrize("name", PAIRS)
def test_ssim_is_scikit_image(name):
    one, other = PAIRS[name]
    expected = [
        structural_similarity(a, b, channel_axis=2, gaussian_weights=True, sigma=1.5,
                              use_sample_covariance=False, data_range=255)
        for a, b in zip(one, other, strict=True)
    ]  # fmt: skip
    values = ssim_by_frame(Pixels(one), Pixels(other))
    assert values.dtype == np.float64 and values == pytest.approx(expected, abs=1e-12)
    assert ssim(Pixels(one), Pixels(other)) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_grey_ssim_is_scikit_images_on_rounded_grey(name):
    """Grey as ITU-R 601-2 has it, in whole numbers: 16-bit weights, rounded, as Pillow documents its mode L."""
    weights = np.array([19595, 38470, 7471])
    one, other = (((clip @ weights + 0x8000) >> 16).astype(np.uint8) for clip in PAIRS[name])
    expected = [
        structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
        for a, b in zip(one, other, strict=True)
    ]
    assert ssim_by_frame_grey(*map(Pixels, PAIRS[name])) == pytest.approx(expected, abs=1e-12)


def test_ssim_of_constant_frames_is_the_formula():
    """Without any structure the term of luminance alone is left (Wang et al. 2004, eq. 6)."""
    for one, other in ((7, 8), (0, 255), (255, 254)):
        c1 = (0.01 * 255) ** 2
        expected = (2 * one * other + c1) / (one**2 + other**2 + c1)
        clips = [Pixels(np.full((1, 16, 16, 3), value, np.uint8)) for value in (one, other)]
        for measure in (ssim_by_frame, ssim_by_frame_grey):
            assert measure(*clips) == pytest.approx([expected], rel=1e-9)


def test_saturated_against_black_is_the_worst_psnr():
    assert psnr(*map(Pixels, PAIRS["saturated"])) == 0


def test_identical_clips():
    clip = Pixels(noise(0))
    assert psnr(clip, clip) == math.inf
    assert ssim(clip, clip) == 1
    assert np.isposinf(psnr_by_frame(clip, clip)).all() and (ssim_by_frame(clip, clip) == 1).all()


def test_one_identical_frame_is_infinite_alone():
    truth, other = (noise(seed) for seed in (0, 1))
    other[1] = truth[1]
    assert np.isposinf(psnr_by_frame(Pixels(truth), Pixels(other))).tolist() == [False, True, False]
    assert math.isfinite(psnr(Pixels(truth), Pixels(other)))


@pytest.mark.parametrize("measure", [psnr_by_frame, ssim_by_frame, ssim_by_frame_grey])
def test_shapes_must_agree(measure):
    with pytest.raises(ValueError, match=r"\(3, 24, 20, 3\) and \(2, 24, 20, 3\) cannot be compared"):
        measure(Pixels(noise(0)), Pixels(noise(0)[:2]))


def test_the_smallest_frames_of_ssim():
    shape = (2, SSIM_MIN_PX, SSIM_MIN_PX, 3)
    assert ssim_by_frame(Pixels(noise(0, shape)), Pixels(noise(1, shape))).shape == (2,)
    shape = (2, SSIM_MIN_PX - 1, SSIM_MIN_PX, 3)
    for measure in (ssim_by_frame, ssim_by_frame_grey):
        with pytest.raises(ValueError, match="frames of 10 x 11 px; expected at least 11 px a side"):
            measure(Pixels(noise(0, shape)), Pixels(noise(1, shape)))


def test_a_wrong_range_would_cost_6_decibels():
    """What the boundary prevents: [-1, 1] read as if it were [0, 1] doubles every difference."""
    one, other = PAIRS["random"]
    right = psnr(Pixels.of(one / 255.0), Pixels.of(other / 255.0))
    difference = (one / 127.5 - 1) - (other / 127.5 - 1)
    assert right - 10 * math.log10(1 / np.mean(difference**2)) == pytest.approx(20 * math.log10(2))
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        Pixels.of(np.linspace(-1, 1, 192).reshape(8, 8, 3))
