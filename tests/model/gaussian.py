"""Data of N(MEAN, STD^2), for which everything is known: the exact model, and where every start noise ends."""

import torch

from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.experiment.sample_config import FLOW_SAMPLERS, SampleConfig
from vdt_hpc.model.noise_key import NoiseKey

MEAN, STD = 0.6, 0.5
PROCESS = DiffusionConfig()
BETAS = torch.linspace(PROCESS.beta_start, PROCESS.beta_end, PROCESS.num_train_steps, dtype=torch.float64)
KEPT = torch.cumprod(1 - BETAS, 0)
SAMPLERS = ("ddpm", "ddim", "dpm-solver++", "unipc", "euler", "heun")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def settings(sampler, steps, **process):
    """Sampler and process that go together."""
    prediction = "flow" if sampler in FLOW_SAMPLERS else process.pop("prediction", "noise")
    return SampleConfig(sampler=sampler, num_steps=steps), DiffusionConfig(prediction=prediction, **process)


def keys(count, seed=0, task="prediction", first=0):
    return [NoiseKey(seed, task, clip, 0) for clip in range(first, first + count)]


def model_of(process):
    """The exact model of a process: what it is to say on average, and the larger variance where it says one."""

    def clean_and_noise(x, times):
        kept = KEPT[times].view(-1, 1, 1, 1, 1)
        clean = MEAN + STD**2 * kept.sqrt() / (STD**2 * kept + 1 - kept) * (x.double() - kept.sqrt() * MEAN)
        return kept, clean, (x - kept.sqrt() * clean) / (1 - kept).sqrt()

    def denoiser(x, times, mask):
        if process.prediction == "flow":
            share = (times.double() / process.num_train_steps).view(-1, 1, 1, 1, 1)
            pull = (x - (1 - share) * MEAN) / ((1 - share) ** 2 * STD**2 + share**2)
            return (share * pull - MEAN - (1 - share) * STD**2 * pull).float()
        kept, clean, noise = clean_and_noise(x, times)
        said = kept.sqrt() * noise - (1 - kept).sqrt() * clean if process.prediction == "velocity" else noise
        if process.learns_variance:
            said = torch.cat([said, torch.ones_like(said)], dim=2)
        return said.float()

    return denoiser


def end_of(start, process, first_time):
    """Where the deterministic path from a start noise ends: it keeps each point's place in the distribution."""
    if process.prediction == "flow":
        return MEAN + STD * start
    kept = KEPT[first_time]
    return (MEAN + STD * (start.double() - kept.sqrt() * MEAN) / (STD**2 * kept + 1 - kept).sqrt()).float()
