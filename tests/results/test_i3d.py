"""I3D with the weights that it is published with: the numbers that others have published. Skipped without them."""

import numpy as np
import pytest
import torch

from results.frechet import FeatureSums, frechet_distance
from results.i3d import load_network, open_i3d
from vdt_hpc.dist import current_task, device_of
from vdt_hpc.experiment.weights import ALEXNET, I3D
from vdt_hpc.quality.distortion import psnr, ssim
from vdt_hpc.quality.perception import open_lpips
from vdt_hpc.quality.pixels import Pixels

CLIPS, FRAMES, SIDE_PX = 128, 16, 224


def needs(weights):
    names = " or ".join(weights.files)
    return pytest.mark.skipif(weights.find() is None, reason=f"{weights.whose} is not there: {names}")


def level(value, num_frames):
    return Pixels(np.full((num_frames, 64, 64, 3), value, np.uint8))


def random_clips(seed):
    """The clips of RandomState(seed).rand(128, 16, 224, 224, 3), one at a time: 77 MB instead of 2.5 GB."""
    draw = np.random.RandomState(seed)
    for _ in range(CLIPS):
        yield draw.rand(FRAMES, SIDE_PX, SIDE_PX, 3).astype(np.float32)


@needs(I3D)
@pytest.mark.timeout(3600)  # 256 clips through I3D: minutes on a few cores
def test_noise_against_noise_is_what_fvd_comparison_publishes():
    """universome/fvd-comparison, compare_metrics.py and README: 10.138085 in TensorFlow and in PyTorch.

    Its clips lie in [0, 1] and go into the network as they are; as the metric has them, they have passed 8 bits.
    """
    device = device_of(current_task())
    network, extract = load_network(device), open_i3d(lowest=0.0)
    exact, as_pixels = [], []
    for seed in (1, 2):
        sums = FeatureSums(), FeatureSums()
        for clip in random_clips(seed):
            video = torch.from_numpy(clip).to(device).permute(3, 0, 1, 2)[None].contiguous()
            with torch.inference_mode():
                sums[0].add(network(video, rescale=False, resize=False, return_features=True).cpu().numpy())
            sums[1].add(extract(Pixels.of(clip)))
        exact.append(sums[0])
        as_pixels.append(sums[1])
    assert frechet_distance(*exact) == pytest.approx(10.138085, abs=2e-3)
    assert frechet_distance(*as_pixels) == pytest.approx(10.138085, abs=0.1)


@needs(I3D)
@pytest.mark.parametrize(
    ("num_frames", "published"), [(10, 569.2296), (12, 551.9611), (16, 152.9175), (24, 66.0628), (30, 151.2565)]
)
def test_black_against_white_is_what_common_metrics_publishes(num_frames, published):
    """JunyaoHu/common_metrics_on_video_quality, README: 8 black and 8 white clips, by length; it says that the number
    changes by about 1 with PyTorch's version, and TensorFlow gives 151.392 for 30 frames."""
    extract, sums = open_i3d(), []
    for value in (0, 255):
        sums.append(FeatureSums())
        sums[-1].add(np.repeat(extract(level(value, num_frames))[None], 8, axis=0))
    assert frechet_distance(*sums) == pytest.approx(published, rel=0.01)


@needs(ALEXNET)
def test_lpips_of_black_and_white_is_what_common_metrics_publishes():
    distances = open_lpips(device_of(current_task()))(level(0, 3), level(255, 3))
    assert distances == pytest.approx([0.81401] * 3, abs=1e-3)


def test_ssim_and_psnr_of_black_and_white_are_what_common_metrics_publishes():
    assert ssim(level(0, 3), level(255, 3)) == pytest.approx(9.999000099990664e-05, rel=1e-6)
    assert psnr(level(0, 3), level(255, 3)) == 0
