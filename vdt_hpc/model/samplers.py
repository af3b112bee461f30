"""From noise to latents: diffusers' schedulers, with given frames mixed in before every call of the model.

Mixing is exact because the schedulers work element by element; what the state holds at given places is never read.

Legend: B clips, T frames, C latent channels, h x w latent cells. Schedulers see (B, C, T, h, w).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import DiffusionConfig, SampleConfig, TaskName
from vdt_hpc.model import masks
from vdt_hpc.model.noise import stream

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x (B, T, C, h, w), times (B,)) -> (B, T, 2C, h, w): noise or velocity, then the variance's interpolation."""

START, STEP = 64, 80
"""Purposes of the streams of samples: these plus the task's number. Training draws under lower numbers."""


@dataclass(frozen=True)
class NoiseKey:
    """What the noise of one sample depends on, and nothing else."""

    seed: int
    task: TaskName
    clip: int
    """Index of the clip in its split."""
    trajectory: int

    def start(self, shape: Sequence[int]) -> Tensor:
        """Noise that a sample starts from, float32 on the CPU."""
        generator = stream(self.seed, self._purpose(START), self.clip, self.trajectory)
        return torch.from_numpy(generator.standard_normal(tuple(shape), "float32"))

    def generator(self, step: int) -> torch.Generator:
        """Generator of the noise that one step adds.

        torch's CPU generator keeps 32 bits of its seed, too few to name every sample of a large set; a seed of its
        own for each step makes a coincidence one of single steps, which no sample can show.
        """
        words = stream(self.seed, self._purpose(STEP), self.clip, self.trajectory, step)
        return torch.Generator().manual_seed(int(words.integers(2**32)))

    def _purpose(self, part: int) -> int:
        return part + masks.TASK_NUMBERS[self.task]


def check(sample: SampleConfig, diffusion: DiffusionConfig, field: str = "sample.num_steps") -> None:
    """Refuse numbers of steps that the schedulers cannot space; `field` is where the number comes from.

    Raises:
        UserError: a single step, more steps than trained times, or DDIM steps that would start far below full noise.
    """
    steps, trained = sample.num_steps, diffusion.num_train_steps
    if steps == 1:
        raise UserError(f"{field} 1 would start at time 0, where there is no noise to remove; use 2 or more")
    if steps > trained:
        raise UserError(f"{field} {steps} is more than the {trained} times that were trained; lower it")
    first_time = (steps - 1) * (trained // steps)
    if sample.sampler == "ddim" and first_time < 0.9 * (trained - trained // steps):
        raise UserError(
            f"{field} {steps}: DDIM would start at time {first_time} of {trained}, far below full noise; "
            f"choose a divisor of {trained} or at most {round(trained**0.5)} steps"
        )


def generate(
    denoiser: Denoiser,
    sample: SampleConfig,
    diffusion: DiffusionConfig,
    given: Tensor,
    mask: Tensor,
    keys: Sequence[NoiseKey],
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Generate a batch of clips.

    Args:
        denoiser: the model, or any function like it.
        sample: sampler and number of steps.
        diffusion: the forward process that was trained.
        given: (B, T, C, h, w) scaled latents, read where the mask says given.
        mask: (B, T, 1, h or 1, w or 1), 1 = generate.
        keys: one per clip.
        on_step: called after every step; it may raise to end early.

    Returns:
        (B, T, C, h, w) scaled latents; given places hold `given`, bit for bit.

    Raises:
        UserError: the number of steps does not suit the sampler.
    """
    check(sample, diffusion)
    assert len(keys) == len(given) == len(mask), (len(keys), len(given), len(mask))
    scheduler = _scheduler(sample, diffusion)
    state = torch.stack([key.start(given.shape[1:]) for key in keys]).to(given.device)
    for step, time in enumerate(scheduler.timesteps):
        output = denoiser(masks.mix(given, state, mask), time.expand(len(given)).to(given.device)).float()
        if sample.sampler == "ddim":
            output, extra = output[:, :, : given.shape[2]], {}  # DDIM has no variance of its own
        else:
            extra = {"generator": [key.generator(step) for key in keys]}
        moved = scheduler.step(output.transpose(1, 2), int(time), state.transpose(1, 2), return_dict=False, **extra)
        state = moved[0].transpose(1, 2)
        on_step()
    return masks.mix(given, state, mask)


def _scheduler(sample: SampleConfig, diffusion: DiffusionConfig) -> Any:
    """The scheduler, spaced. Latents are not bounded, so nothing is clipped (diffusers clips by default)."""
    from diffusers import DDIMScheduler, DDPMScheduler

    process = {
        "num_train_timesteps": diffusion.num_train_steps,
        "beta_start": diffusion.beta_start,
        "beta_end": diffusion.beta_end,
        "beta_schedule": "linear",
        "clip_sample": False,
        "prediction_type": {"noise": "epsilon", "velocity": "v_prediction"}[diffusion.prediction],
    }
    if sample.sampler == "ddpm":  # linspace is the spacing of improved DDPM and DiT
        scheduler = DDPMScheduler(**process, variance_type="learned_range", timestep_spacing="linspace")
    else:  # DDIMScheduler takes t - 1000 // steps for the next time: right with leading spacing alone
        scheduler = DDIMScheduler(**process, timestep_spacing="leading")
    scheduler.set_timesteps(sample.num_steps)
    return scheduler
