"""Clips measured per second: python tests/benchmarks/metrics.py [--rounds 3] [--others 4].

PSNR, SSIM and LPIPS of clips of 30 frames of 128 px beside their truth, as often as `evaluate` sets others beside the
same truth (the model, and three rows that tell what a number means). Ours keeps the truth's features and passes a clip
at once; plain is the libraries frame by frame. One thread; the two take turns; LPIPS has random weights, since speed
depends on none.
"""

import argparse
import datetime
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))

from skimage.metrics import structural_similarity

from tests.benchmarks.training import device_name
from tests.quality.made_alexnet import alexnet
from vdt_hpc.quality import perception
from vdt_hpc.quality.distortion import mse_by_frame, ssim_by_frame
from vdt_hpc.quality.pixels import Pixels

FRAMES, SIDE_PX = 30, 128


def plain(network, truth, others):
    """The libraries, frame by frame; a mean of each metric for each of the others."""

    def signed(frame):
        return torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1

    found = []
    for other in others:
        values = []
        for one, two in zip(truth.values, other.values, strict=True):
            mse = np.mean((one.astype(np.float64) - two) ** 2)
            ssim = structural_similarity(
                one, two, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
            )
            with torch.inference_mode():
                values.append((mse, ssim, float(network(signed(one), signed(two)))))
        found.append(np.mean(values, axis=0))
    return np.array(found)


def ours(lpips_by_frame, truth, others):
    """What `evaluate` does with a clip."""
    return np.array([
        [measure(truth, other).mean() for measure in (mse_by_frame, ssim_by_frame, lpips_by_frame)] for other in others
    ])  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--others", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    clips = [Pixels(draw.integers(0, 256, (FRAMES, SIDE_PX, SIDE_PX, 3), np.uint8)) for _ in range(options.others + 1)]
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict("os.environ", VDT_HPC_WEIGHTS=folder):
        save_file(alexnet(), Path(folder) / "alexnet-owt-7be5be79.safetensors")
        by_frame = perception.open_lpips(torch.device("cpu"))
        network = perception._network(perception.find(perception.ALEXNET), perception.ALEXNET)
    told = f"{datetime.date.today()}, {device_name('cpu')}, torch {torch.__version__}"
    print(f"{told}; {options.others} beside each truth")
    others = clips[1:]
    ways = {"plain": lambda truth: plain(network, truth, others), "ours": lambda truth: ours(by_frame, truth, others)}
    taken = {name: [] for name in ways}
    for number in range(options.rounds + 1):  # the first warms up
        truth, found = Pixels(clips[0].values.copy()), {}  # a truth that was not seen
        for name, measure in ways.items():
            started_s = time.process_time()
            found[name] = measure(truth)
            if number:
                taken[name].append(time.process_time() - started_s)
        assert np.allclose(found["ours"], found["plain"], rtol=1e-5), found
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        print(f"{name:6} {options.others / middle:6.2f} clips/s ({middle / options.others * 1000:.0f} ms a clip)")
    print(f"ours is {statistics.median(taken['plain']) / statistics.median(taken['ours']):.2f} times as fast")


if __name__ == "__main__":
    main()
