"""What the lab report's faults do to the numbers of samples that are also measured rightly."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from results.frechet import frechet
from results.metrics.fvd_lab import mean_over_batches
from results.metrics.psnr_lab import psnr_by_frame_of_the_lab
from results.metrics.ssim_lab import ssim_by_frame_of_the_lab
from tests.results.conftest import make_run, smooth_clips
from vdt_hpc.quality.distortion import psnr_by_frame, ssim_by_frame
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.store.records import read_records

GIVEN = 2
NUM_CLIPS = 40
"""Two batches of 16, and 8 clips that the lab throws away."""


def values(run, subject="model"):
    found = [record for record in read_records(run.paths.records) if record.subject == subject]
    return {record.metric: record.value for record in found}


@pytest.fixture
def faulty(made_up, tiny_i3d, tmp_path, random_autoencoder):
    """40 clips, each too bright or too dark by 10 levels in each colour; measured in both ways."""
    tiny_i3d()
    run = make_run(tmp_path / "lab", smooth_clips(NUM_CLIPS), random_autoencoder)
    shift = np.random.default_rng(5).choice([-10, 10], (NUM_CLIPS, 1, 1, 1, 3))
    run.write_samples((run.frames + shift).astype(np.uint8)[:, None])
    run.evaluate(metrics=("psnr", "ssim", "fvd"), protocols=("lab2024",))
    return run


def test_the_same_samples_by_lab2024(faulty):
    """PSNR is lower by 20 log10(2) = 6.02 dB, exactly, since every frame has one error; SSIM is lower, on frames
    around mid-grey; FVD is more than four times as large: twice the range, squared, and a bias of small batches."""
    found = values(faulty)
    assert found["psnr"] == pytest.approx(20 * np.log10(255 / 10), rel=1e-12)
    assert found["psnr"] - found["psnr-lab"] == pytest.approx(20 * np.log10(2), abs=1e-9)
    assert found["ssim-lab"] < found["ssim"] - 0.05
    real = values(faulty, "real-against-real")
    for one in (found, real):  # of real clips it is their features' spread alone
        assert one["fvd-lab"] > 4 * one["fvd"] > 0


def test_one_distribution_lies_far_from_itself_in_small_batches():
    """FD of two samples of one Gaussian by its trace: 1 to 2 at 6 clips, 0.6 to 1.7 at 16, 0.02 to 0.11 at 1,525."""
    draw, spread = np.random.default_rng(0), np.arange(1, 401) ** -0.5
    for num_clips, least, most in ((6, 1.0, 2.0), (16, 0.6, 1.7), (1525, 0.02, 0.11)):
        one, other = draw.standard_normal((2, num_clips, 400)) * spread
        assert least < frechet(one, other) / np.sum(spread**2) < most


def one_over_f(size, draw):
    """A picture whose amplitudes fall with the frequency, as in photographs, around mid-grey: (size, size, 3)."""
    frequencies = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    frequencies[0, 0] = np.inf
    waves = np.fft.fft2(draw.standard_normal((size, size, 3)), axes=(0, 1)) / frequencies[..., None]
    picture = np.fft.ifft2(waves, axes=(0, 1)).real
    return 127.5 + 50 * picture / picture.std()


def pixels(pictures):
    return Pixels(np.clip(pictures, 0, 255).round().astype(np.uint8))


@pytest.mark.parametrize(("distortion", "least_loss"), [("mixed", 0.3), ("blurred", 0.05), ("another", 0.005)])
def test_the_labs_ssim_is_too_low_on_pictures_like_photographs(distortion, least_loss):
    """Around mid-grey two local means of different signs make the term of luminance negative: 0.69 becomes 0.30 where
    large shapes differ, 0.35 becomes 0.27 where small ones are lost, 0.02 becomes 0.01 where nothing is alike."""
    draw = np.random.default_rng(0)
    truth, another = (np.stack([one_over_f(128, draw) for _ in range(3)]) for _ in range(2))
    mixed = 127.5 + np.sqrt(0.51) * (truth - 127.5) + 0.7 * (another - 127.5)
    others = {"mixed": mixed, "blurred": gaussian_filter(truth, (0, 2, 2, 0)), "another": another}
    clips = pixels(truth), pixels(others[distortion])
    assert ssim_by_frame_of_the_lab(*clips).mean() < ssim_by_frame(*clips).mean() - least_loss


def test_the_labs_window_is_a_convolution_of_11_pixels_with_zeros_beyond_the_frame():
    draw = np.random.default_rng(0)
    truth, other = (Pixels(draw.integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)) for _ in range(2))
    weights = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    kernel = (weights[:, None] * weights[None]).expand(3, 1, 11, 11)

    def window(image):
        return torch.nn.functional.conv2d(image, kernel, padding=5, groups=3)

    one, two = (torch.from_numpy(clip.values).permute(0, 3, 1, 2).double() / 127.5 - 1 for clip in (truth, other))
    m1, m2 = window(one), window(two)
    s11, s22, s12 = window(one * one) - m1**2, window(two * two) - m2**2, window(one * two) - m1 * m2
    quality = (2 * m1 * m2 + 1e-4) * (2 * s12 + 9e-4) / ((m1**2 + m2**2 + 1e-4) * (s11 + s22 + 9e-4))
    assert ssim_by_frame_of_the_lab(truth, other) == pytest.approx(quality.mean((1, 2, 3)).numpy(), rel=1e-9)


def pair(size=32, seed=0):
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 256, (3, size, size, 3))
    other = np.clip(truth + draw.normal(0, 30, truth.shape), 0, 255)
    return Pixels(truth.astype(np.uint8)), Pixels(other.astype(np.uint8))


def test_the_labs_psnr_is_6_db_too_low():
    truth, other = pair()
    expected = psnr_by_frame(truth, other) - 20 * np.log10(2)
    assert np.allclose(psnr_by_frame_of_the_lab(truth, other), expected, rtol=1e-12)


def test_the_labs_ssim_is_too_low_and_its_window_right():
    smooth = np.add.outer(np.arange(64), np.arange(64))[None, ..., None].repeat(3, -1)
    truth = Pixels(smooth.astype(np.uint8))
    other = Pixels(np.clip(smooth + np.random.default_rng(0).normal(0, 12, smooth.shape), 0, 255).astype(np.uint8))
    assert ssim_by_frame_of_the_lab(truth, other)[0] < ssim_by_frame(truth, other)[0] - 0.05
    assert ssim_by_frame_of_the_lab(truth, truth) == pytest.approx(1.0, rel=1e-12)


def test_the_labs_fvd_is_inflated_and_throws_clips_away():
    draw = np.random.default_rng(0)
    one, other = draw.standard_normal((2, 40, 12))
    expected = np.mean([frechet(one[i : i + 16], other[i : i + 16]) for i in (0, 16)])
    assert mean_over_batches(one, other) == pytest.approx(expected, rel=1e-12)
    assert mean_over_batches(one, other) > 1.5 * frechet(one, other)
    assert mean_over_batches(one[:32], other[:32]) == mean_over_batches(one, other)


def test_the_lab_counts_given_frames_as_they_were_sampled(made_up):
    made_up.write_samples(made_up.samples[:, :1])
    changed = made_up.samples[:, :1].copy()
    changed[:, :, :GIVEN] = 255 - changed[:, :, :GIVEN]
    made_up.write_samples(changed, made_up.info(seed=1))
    made_up.evaluate(metrics=("psnr",), protocols=("lab2024",))
    found = {(r.seed, r.metric): r.value for r in read_records(made_up.paths.records) if r.subject == "model"}
    assert found[0, "psnr"] == found[1, "psnr"]
    assert found[0, "psnr-lab"] > found[1, "psnr-lab"] + 1
    expected = [psnr_by_frame(Pixels(true), Pixels(one)).mean() - 20 * np.log10(2)
                for true, one in zip(made_up.frames, made_up.samples[:, 0], strict=True)]  # fmt: skip
    assert found[0, "psnr-lab"] == pytest.approx(np.mean(expected), abs=0.1)  # of the mean error, not the mean of PSNRs


def test_frames_that_are_identical_are_no_identical_clips(made_up):
    """Copies have the true given frames, which count for the lab alone: of these its PSNR is infinite."""
    made_up.write_samples(made_up.samples)
    made_up.evaluate(metrics=("psnr",), protocols=("lab2024",))
    (copied,) = [record for record in read_records(made_up.paths.records)
                 if (record.subject, record.metric) == ("copy-last-frame", "psnr-lab")]  # fmt: skip
    assert copied.missing == "infinite: 4 of 4 clips have frames that are identical with the truth"
