"""Memory and time of `evaluate` by number of clips: python tests/benchmarks/measuring.py [--clips 4 32].

Cityscapes' size: 30 frames of 128 px, several trajectories; SSIM, PSNR, LPIPS and the set metric, each in a process of
its own on the CPU. Weights are random and none of the numbers is shown: what is asked is what they cost.
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import numpy as np
import torch
from safetensors.torch import save_file

from tests.benchmarks.training import device_name
from tests.quality.made_alexnet import alexnet
from tests.results.conftest import TinyExtractor, make_run, smooth_clips

FRAMES, SIDE_PX = 30, 128
METRICS = ("psnr", "ssim", "lpips", "fvd")


def measure(run, root):
    """In a process of its own: evaluate, and print the peak of its memory."""
    from vdt_hpc.commandline import load_partition, load_run
    from vdt_hpc.experiment.stages import load

    config = load_run(run, [f"evaluate.metrics=[{', '.join(METRICS)}]"])
    load("evaluate")(config, load_partition("local").model_copy(update={"root": root}))
    # Not getrusage: its peak begins with that of the process that started this one.
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) * 1024)


def made_up_run(folder, num_clips, num_trajectories, autoencoder):
    run = make_run(folder, smooth_clips(num_clips, FRAMES, SIDE_PX), autoencoder)
    draw = np.random.default_rng(1)
    shifts = draw.integers(1, 16, (num_clips, num_trajectories, 1, 1, 1, 1), dtype=np.uint8)
    run.write_samples(run.frames[:, None] ^ shifts)
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--trajectories", type=int, default=4)
    parser.add_argument("--measure", nargs=2, metavar=("RUN", "ROOT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    told = f"{datetime.date.today()}, {device_name('cpu')}, torch {torch.__version__}"
    print(f"{told}; {options.trajectories} trajectories, {', '.join(METRICS)}")
    print(f"{'clips':>6} {'samples':>10} {'peak memory':>12} {'s a clip':>9}")
    with tempfile.TemporaryDirectory() as folder:
        weights, autoencoder = Path(folder) / "weights", Path(folder) / "autoencoder"
        weights.mkdir()
        save_file(alexnet(), weights / "alexnet-owt-7be5be79.safetensors")
        torch.jit.script(TinyExtractor(400)).save(str(weights / "i3d_torchscript.pt"))
        random_autoencoder(autoencoder)
        for num_clips in options.clips:
            run = made_up_run(Path(folder) / str(num_clips), num_clips, options.trajectories, autoencoder)
            words = [sys.executable, __file__, "--measure", str(run.paths.run_config), str(run.root)]
            started_s = time.perf_counter()
            done = subprocess.run(
                words, env={**os.environ, "VDT_HPC_WEIGHTS": str(weights)}, capture_output=True, text=True, check=True
            )
            seconds, peak = time.perf_counter() - started_s, int(done.stdout.split()[-1])
            sampled = num_clips * options.trajectories * FRAMES * SIDE_PX**2 * 3
            print(
                f"{num_clips:>6} {sampled / 1e6:>7.0f} MB {peak / 1e6:>9.0f} MB {seconds / num_clips:>9.1f}", flush=True
            )


def random_autoencoder(folder):
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, norm_num_groups=4, latent_channels=4,
    ).save_pretrained(folder)  # fmt: skip


if __name__ == "__main__":
    main()
