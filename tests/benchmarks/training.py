"""The training step beside the lab's recipe, and as a share of the machine's bf16 peak.

    python tests/benchmarks/training.py                                            VDT-S/2 on this CPU, some minutes
    python tests/benchmarks/training.py --model VDT-L/2 --frames 30 --batch 16 --device cuda --no-lab

The lab's step: an autoencoder of Stable Diffusion's size encodes the clips' frames in fp32, VDT runs forward and
backward in fp32 through the fused attention, AdamW updates weight by weight. Ours is the trainer's whole update on
latents that are cached: objective, bf16, clipping, fused AdamW, moving average; eager and compiled. All take turns in
each round, so that they see the same load of the machine. The peak is the fastest of several bf16 products in the same
run, and a step counts as 3 forward passes of `size.forward_flops`. Weights and data are random.
"""

import argparse
import datetime
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2]))
import numpy as np
import torch

from jobs.examples import Batch, Example
from jobs.trainer import Trainer
from tests.jobs import made_up
from vdt_hpc.commandline import load_run
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.experiment.partition import plan_batch
from vdt_hpc.experiment.size import training_flops
from vdt_hpc.model import arithmetic, blocks, execution, masks, vdt

FRAME_PX = 128
PRODUCT_S = 0.5
SD_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4,
}  # fmt: skip


class Lab:
    """One update as in the lab's report."""

    def __init__(self, config, device):
        from diffusers import AutoencoderKL

        clips, frames, side = config.batch.global_clips, config.model.num_frames, config.latent_height
        self._vae = AutoencoderKL(**SD_VAE).to(device).eval().requires_grad_(False)
        self._model = vdt.build(config, 0).to(device)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-4, foreach=False, fused=False)
        self._frames = torch.rand(clips * frames, 3, FRAME_PX, FRAME_PX, device=device) * 2 - 1
        self._shape = (clips, frames, 4, side, side)
        self._mask = masks.batch([masks.prediction(frames, frames // 2)] * clips).to(device)

    def step(self):
        with torch.no_grad():
            clean = self._vae.encode(self._frames).latent_dist.sample().view(self._shape) * 0.18215
        noise = torch.randn_like(clean)
        times = torch.randint(1000, (len(clean),), device=clean.device)
        with mock.patch.object(blocks, "attend", blocks.fused_attention):
            output = self._model(masks.mix(clean, 0.6 * clean + 0.8 * noise, self._mask), times, self._mask)
        ((output[:, :, :4] - noise) * self._mask).square().mean().backward()
        self._optimizer.step()
        self._optimizer.zero_grad()


class Ours:
    """One update by the trainer."""

    def __init__(self, config, device, folder, compiled):
        clips = config.batch.global_clips
        partition = made_up.partition(folder, max_clips_per_gpu=clips, compile=compiled)
        group = ProcessGroup(Task(), folder)
        assert group.device.type == device.type, f"the trainer runs on {group.device}; hide the GPU with --device cpu"
        self._trainer = Trainer(config, plan_batch(config.batch, partition), group)
        execution.set_up(self._trainer.model, partition)
        self._batch = made_up_batch(config)

    def step(self):
        self._trainer.gradients([self._batch])
        self._trainer.update(1e-4, 0.999)
        assert not self._trainer.fault, self._trainer.fault


def made_up_batch(config):
    """A micro-batch of the run's whole batch: predictions from a quarter of the frames, latents drawn."""
    clips, frames, side = config.batch.global_clips, config.model.num_frames, config.latent_height
    given, draw = frames // 4, np.random.default_rng(0)
    clean, noise = draw.standard_normal((2, clips, frames, 4, side, side), np.float32)
    examples = tuple(
        Example(position=clip, clip=clip, start_frame=0, flip=0, task="prediction", given_frames=given, time=500)
        for clip in range(clips)
    )
    return Batch(examples, clean, noise, [masks.prediction(frames, given)] * clips)


def seconds(step, device):
    """Wall time of a step, until the device is done."""
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def bf16_peak(config, device):
    """The fastest of several bf16 products, FLOP/s: square ones, and the MLP's."""
    D = config.model.width
    tokens = config.batch.global_clips * config.model.num_frames * (config.latent_height // 2) ** 2
    sides = (4096, 8192) if device.type == "cuda" else (1024, 2048, 4096)
    best = 0.0
    for rows, inner, columns in (*((side, side, side) for side in sides), (tokens, D, 4 * D), (tokens, 4 * D, D)):
        left, right = (
            torch.randn(*shape, device=device, dtype=torch.bfloat16) for shape in ((rows, inner), (inner, columns))
        )
        ends, taken = time.perf_counter() + PRODUCT_S, []
        while time.perf_counter() < ends or len(taken) < 3:
            taken.append(seconds(lambda left=left, right=right: left @ right, device))
        best = max(best, 2 * rows * inner * columns / min(taken))
    return best


def measure(options, folder):
    changes = [f"model.num_frames={options.frames}", f"batch.global_clips={options.batch}"]
    config = load_run("cityscapes", [f"model.preset={options.model}", "tasks.prefix_max_frames=2", *changes])
    device = torch.device(options.device)
    steps = {"ours, eager": Ours(config, device, folder, compiled=False).step}
    if not options.eager:
        steps["ours, compiled"] = Ours(config, device, folder, compiled=True).step
    if not options.no_lab:
        steps["lab"] = Lab(config, device).step
    taken, peak = {name: [] for name in steps}, 0.0
    with arithmetic.products(config, device):
        for name, step in steps.items():
            for _ in range(1 if name == "lab" else 2):
                step()
        for _ in range(options.rounds):
            peak = max(peak, bf16_peak(config, device))
            for name, step in steps.items():
                taken[name] += [seconds(step, device) for _ in range(1 if name == "lab" else options.steps)]
    flops = training_flops(config) * options.batch
    print(f"bf16 peak {peak / 1e12:.3f} TFLOP/s, a step {flops / 1e12:.3f} TFLOP; {options.rounds} rounds\n")
    print(f"{'':16} {'median s':>9} {'fastest s':>10} {'share of peak':>14} {'lab / this':>11} {'fastest':>8}")
    for name, values in taken.items():
        middle, best = statistics.median(values), min(values)
        share = "" if name == "lab" else f"{flops / best / peak:.1%}"
        ratios = ""
        if "lab" in taken:
            ratios = f"{statistics.median(taken['lab']) / middle:>11.1f} {min(taken['lab']) / best:>8.1f}"
        print(f"{name:16} {middle:>9.3f} {best:>10.3f} {share:>14} {ratios}", flush=True)


def device_name(device):
    """The GPU's name, or the processor's and how many threads compute."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name}, {torch.get_num_threads()} threads"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="VDT-S/2")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps of ours in a round; the lab's are one")
    parser.add_argument("--no-lab", action="store_true")
    parser.add_argument("--eager", action="store_true", help="leave the compiled step out")
    options = parser.parse_args()
    print(f"{datetime.date.today()}, {device_name(options.device)}, torch {torch.__version__}")
    print(f"{options.model}, {options.frames} frames, batch {options.batch}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


if __name__ == "__main__":
    main()
