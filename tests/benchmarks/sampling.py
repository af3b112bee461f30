"""Sampling beside the lab's: python tests/benchmarks/sampling.py [--compile] [--device cuda] [--run streets].

Seconds for one clip, decoding included, with a model of random weights and a decoder of Stable Diffusion's size, since
speed depends on no weight. Lab: fp32, DDPM in 500 steps, the fused attention, one clip at once, fp32 decoding. Ours:
bf16, several clips at once, bf16 decoding clip by clip. A few calls of the model and a few decoded frames are timed, in
turn, in one process, and multiplied by their number: every call and every frame costs the same. On a CPU the seconds
are those that one thread computed, not those that passed, so that others on the machine count for little.

With --run: how far the results of a trained run's samplers lie from DDIM in 1000 steps, from the same start noise.
"""

import argparse
import contextlib
import statistics
import sys
import time
from datetime import date
from pathlib import Path
from unittest import mock

import diffusers
import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.training import SD_VAE, device_name
from vdt_hpc.commandline import find_run, load_run, run_paths
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.sample_config import SampleConfig
from vdt_hpc.experiment.signature import signature
from vdt_hpc.model import arithmetic, autoencoder, blocks, masks, samplers, schedules, upsampling, vdt
from vdt_hpc.model.autoencoder import Autoencoder
from vdt_hpc.model.noise_key import NoiseKey
from vdt_hpc.store import checkpoint
from vdt_hpc.store.latents import LatentSet

GIVEN = 2
LAB = SampleConfig(sampler="ddpm", num_steps=500)
OURS = [
    SampleConfig(sampler="ddpm", num_steps=500), SampleConfig(sampler="ddim", num_steps=50),
    SampleConfig(sampler="dpm-solver++", num_steps=20),
]  # fmt: skip
COMPARED = [
    SampleConfig(sampler="ddim", num_steps=500), SampleConfig(sampler="ddim", num_steps=50),
    SampleConfig(sampler="ddim", num_steps=20), SampleConfig(sampler="dpm-solver++", num_steps=20),
    SampleConfig(sampler="dpm-solver++", num_steps=50), SampleConfig(sampler="unipc", num_steps=20),
    SampleConfig(sampler="ddpm", num_steps=500),
]  # fmt: skip
REFERENCE = SampleConfig(sampler="ddim", num_steps=1000)


class Enough(Exception):
    """As many calls as are timed were made."""


class Way:
    """One way to sample: a model and its decoder, in one arithmetic.

    Args:
        run: model, frames and arithmetic.
        clips: clips that pass the model at once.
        decoder: a decoder of Stable Diffusion's size.
    """

    def __init__(self, run, clips, decoder):
        self._run, self._clips, self._device = run, clips, decoder.device
        self._decoder = decoder
        self.model = vdt.build(run).to(self._device).eval().requires_grad_(False)
        arithmetic.keep_for_products(self.model, run)
        self._cells = (4, run.latent_height, run.latent_height)

    def call_seconds(self, sample, num_calls):
        """Seconds that one call of the model and its step take for one clip; the first is left out."""
        moments = []

        def on_call():
            moments.append(now(self._device))
            if len(moments) > num_calls:
                raise Enough

        def denoise(x, times, mask):
            with arithmetic.autocast(self._run, self._device):
                return self.model(x, times, mask)

        frames = self._run.model.num_frames
        given = torch.zeros(self._clips, frames, *self._cells, device=self._device)
        mask = masks.batch([masks.prediction(frames, GIVEN)] * self._clips).to(self._device)
        keys = [NoiseKey(0, "prediction", clip, 0) for clip in range(self._clips)]
        with contextlib.suppress(Enough), arithmetic.products(self._run, self._device), torch.inference_mode():
            samplers.generate(denoise, sample, self._run.diffusion, given, mask, keys, on_call)
        return (moments[-1] - moments[0]) / (len(moments) - 1) / self._clips

    def decode_seconds(self, num_frames):
        """Seconds that one frame takes."""
        latents = torch.randn(num_frames, *self._cells)
        started = now(self._device)
        autoencoder.decode(self._decoder, latents, num_frames)
        return (now(self._device) - started) / num_frames


def now(device):
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def decoder_like_stable_diffusions(device, dtype, memory_format, folded):
    model = diffusers.AutoencoderKL(**SD_VAE)
    if folded:
        upsampling.fold_doublings(model)
    model = model.to(device, dtype, memory_format=memory_format).eval().requires_grad_(False)
    return Autoencoder(model, "random", "", 0.18215)


def speed(options, device):
    tree = {
        "model": {"preset": options.model, "num_frames": options.frames},
        "tasks": {"prefix_min_frames": GIVEN, "prefix_max_frames": GIVEN},
    }
    run, plain = (RunConfig.model_validate({**tree, "train": {"precision": name}}) for name in ("bf16", "fp32"))
    torch.manual_seed(0)
    ours = Way(run, options.batch, decoder_like_stable_diffusions(device, torch.bfloat16, torch.channels_last, True))
    lab = Way(plain, 1, decoder_like_stable_diffusions(device, torch.float32, torch.contiguous_format, False))
    if options.compile:
        for block in ours.model.blocks:
            block.compile(dynamic=False)
    seconds = {}
    for number in range(options.rounds + 1):  # the first warms up
        taken = {
            "our decoding": ours.decode_seconds(options.decoded),
            "lab decoding": lab.decode_seconds(options.decoded),
        }
        with mock.patch.object(blocks, "attend", functional.scaled_dot_product_attention):
            taken["lab call"] = lab.call_seconds(LAB, options.calls)
        for sample in OURS:
            taken[sample.sampler] = ours.call_seconds(sample, options.calls)
        if number:
            for name, value in taken.items():
                seconds.setdefault(name, []).append(value)
    told = f"{options.model}, {options.frames} frames of 128 px, {'compiled' if options.compile else 'eager'}"
    print(
        f"{told}; timed: {options.calls} calls of the model, {options.decoded} decoded frames, {options.rounds} rounds"
    )
    for name, values in seconds.items():
        what = "a frame" if "decoding" in name else "a call and its step, for one clip"
        print(f"  {name}: {statistics.median(values):.3f} s for {what} ({min(values):.3f} to {max(values):.3f})")
    for which, best in (("medians", statistics.median), ("fastest rounds", min)):
        print(f"by the {which}:")
        tell_ratios({name: best(values) for name, values in seconds.items()}, options)


def tell_ratios(seconds, options):
    """Seconds of a whole clip, from those of a call and of a decoded frame."""
    lab_s = schedules.num_calls(LAB) * seconds["lab call"] + options.frames * seconds["lab decoding"]
    print(f"  lab, ddpm in {LAB.num_steps} steps, fp32, one clip at once: {lab_s:.1f} s a clip")
    for sample in OURS:
        sampled_s = schedules.num_calls(sample) * seconds[sample.sampler]
        decoded_s = options.frames * seconds["our decoding"]
        print(
            f"  ours, {sample.sampler} in {sample.num_steps} steps, bf16, {options.batch} at once: "
            f"{sampled_s + decoded_s:.1f} s a clip ({sampled_s:.1f} sampling, {decoded_s:.1f} decoding), "
            f"{lab_s / (sampled_s + decoded_s):.1f} times faster"
        )


class Trained:
    """A run's averaged weights, test latents and decoder."""

    def __init__(self, paths, num_clips, device):
        self._config, self._device = paths.config, device
        latents = LatentSet.open(self._config, paths)
        found = checkpoint.newest(paths.checkpoints, signature(self._config))
        self.name = f"{self._config.name}, {found.clips_seen:,} clips seen"
        self._model = vdt.build(self._config).to(device).eval().requires_grad_(False)
        self._model.load_state_dict(found.load("ema"))
        self._scaling_factor = latents.manifest.scaling_factor
        split, frames = latents.split("test"), self._config.model.num_frames
        means = np.stack([split.moments(clip)[0][:frames] for clip in range(min(num_clips, len(split)))])
        self._given = torch.from_numpy(means.astype(np.float32)).to(device) * self._scaling_factor
        self._decoders = {
            precision: autoencoder.load(self._config.autoencoder, device, precision=precision)
            for precision in ("fp32", "bf16")
        }

    def latents(self, sample):
        """Scaled latents (B, T, C, h, w) of the first test clips."""

        def denoise(x, times, mask):
            with arithmetic.autocast(self._config, self._device):
                return self._model(x, times, mask)

        clips, frames = self._given.shape[:2]
        mask = masks.batch([masks.prediction(frames, self._config.sample.given_frames)] * clips).to(self._device)
        keys = [NoiseKey(0, "prediction", clip, 0) for clip in range(clips)]
        with torch.inference_mode():
            return samplers.generate(denoise, sample, self._config.diffusion, self._given, mask, keys)

    def frames(self, latents, precision="fp32"):
        """Generated frames, (B (T - given), H, W, 3)."""
        generated = latents[:, self._config.sample.given_frames :].flatten(0, 1) / self._scaling_factor
        return autoencoder.decode(self._decoders[precision], generated, self._config.sample.decode_frames)


def psnr_db(frames, others):
    error = np.square(frames.astype(np.float64) - others).mean()
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def distances(options, device):
    try:
        folder = find_run(options.run, Path(options.root))
        paths = RunPaths(load_run(str(run_paths(folder).run_config)), folder.parent)
        trained = Trained(paths, options.clips, device)
    except UserError as error:
        print(f"no distances between samplers: {error}")
        return
    if paths.config.diffusion.prediction == "flow":
        print(f"no distances between samplers: the run {options.run} says the flow, the samplers are of diffusion")
        return
    reference = trained.latents(REFERENCE)
    given = paths.config.sample.given_frames
    pixels = trained.frames(reference)
    print(f"{trained.name}: {len(reference)} test clips, against {REFERENCE.sampler} in {REFERENCE.num_steps} steps")
    print(f"  RMS of its generated latents {reference[:, given:].square().mean().sqrt():.3f}")
    for sample in COMPARED:
        latents = trained.latents(sample)
        rms = (latents - reference)[:, given:].square().mean().sqrt().item()
        psnr = psnr_db(trained.frames(latents), pixels)
        print(f"  {sample.sampler} in {sample.num_steps} steps: latent RMS {rms:.4f}, decoded PSNR {psnr:.1f} dB")
    print(f"  the reference decoded in bf16: PSNR {psnr_db(trained.frames(reference, 'bf16'), pixels):.1f} dB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="VDT-S/2")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--batch", type=int, default=4, help="our clips at once")
    parser.add_argument("--calls", type=int, default=2, help="calls of the model that are timed")
    parser.add_argument("--decoded", type=int, default=6, help="frames whose decoding is timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-speed", action="store_true", help="distances alone")
    parser.add_argument("--run", help="a trained run, for the distances between samplers")
    parser.add_argument("--root", default="runs")
    parser.add_argument("--clips", type=int, default=4, help="test clips of the distances")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}"
    print(f"{date.today()}, {device_name(options.device)}, {versions}", flush=True)
    if not options.no_speed:
        speed(options, device)
    if options.run:
        distances(options, device)
    else:
        print("no distances between samplers: name a trained run with --run")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
