"""The schedulers of diffusers, each set up so that it is right for latents, and the times at which the model is asked.

What is set against the defaults, and why:
- nothing is clipped, since latents are not bounded;
- the cumulative products are put in as float64: from float32 the smallest betas come out with three digits;
- DDPM takes linspace spacing (that of improved DDPM and DiT); DDIM takes t - 1000 // steps for the next time, which is
  right with leading spacing alone;
- DPM-Solver++ cuts a learned variance off after the third channel, whatever their number: it is given the noise alone,
  as are DDIM and UniPC;
- DPM-Solver++ and UniPC take n of n + 1 evenly spaced times, rounded: with as many steps as trained times one time
  comes twice, and a step of no length gives no number, so that they take one step fewer at most;
- a flow of n steps is given a scheduler of n times, whose sigmas are 1, (n-1)/n, ..., 1/n, 0; with the 1000 times that
  were trained the last step would go from 0.001 to 0 and do nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vdt_hpc.errors import UserError
from vdt_hpc.experiment import architecture
from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.experiment.sample_config import FLOW_SAMPLERS, SampleConfig, SamplerName
from vdt_hpc.model.diffusion import kept_signal

MULTISTEP_SAMPLERS: tuple[SamplerName, ...] = ("dpm-solver++", "unipc")
"""Those that remember what the model said a step before."""


@dataclass(frozen=True)
class Schedule:
    """A sampler's steps, one per call of the model; it has a memory, so every batch takes a new one."""

    scheduler: Any
    times: Tensor
    """(calls,) what the model is told, whole numbers for diffusion, float32 for a flow."""
    draws_noise: bool
    """True if steps add noise."""
    takes_variance: bool
    """True if a step takes what the model says of the variance too."""

    def step(self, call: int, output: Tensor, state: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The state after a call of the model.

        Args:
            call: number of the call, from 0.
            output: (B, T, C or 2C, h, w), what the model said.
            state: (B, T, C, h, w)
            generators: one per clip where the schedule draws noise; else none.
        """
        if not self.takes_variance:
            output = output[:, :, : state.shape[2]]
        extra = {"generator": list(generators)} if self.draws_noise else {}
        time = self.scheduler.timesteps[call]
        moved = self.scheduler.step(  # schedulers split (B, C, T, h, w) by its second dimension
            output.transpose(1, 2), time, state.transpose(1, 2), return_dict=False, **extra
        )
        after: Tensor = moved[0].transpose(1, 2)
        return after


def num_calls(sample: SampleConfig) -> int:
    """Calls of the model for one window: Heun asks twice in every step but the last."""
    return 2 * sample.num_steps - 1 if sample.sampler == "heun" else sample.num_steps


def check(sample: SampleConfig, diffusion: DiffusionConfig, field: str = "sample.num_steps") -> None:
    """Refuse numbers of steps that the schedulers cannot space; `field` is where the number comes from.

    Raises:
        UserError: a single step of a diffusion, more steps than there are times to take, or DDIM steps that would start
            far below full noise.
    """
    steps, trained = sample.num_steps, diffusion.num_train_steps
    if sample.sampler in FLOW_SAMPLERS:  # any time was trained
        return
    if steps == 1:
        raise UserError(f"{field} 1 would start at time 0, where there is no noise to remove; use 2 or more")
    if steps > trained:
        raise UserError(f"{field} {steps} is more than the {trained} times that were trained; lower it")
    if steps == trained and sample.sampler in MULTISTEP_SAMPLERS:
        raise UserError(f"{field} {steps}: {sample.sampler} takes {trained - 1} steps at most; lower it")
    first_time = (steps - 1) * (trained // steps)
    if sample.sampler == "ddim" and first_time < 0.9 * (trained - trained // steps):
        raise UserError(
            f"{field} {steps}: DDIM would start at time {first_time} of {trained}, far below full noise; "
            f"choose a divisor of {trained} or at most {round(trained**0.5)} steps"
        )


def build(sample: SampleConfig, diffusion: DiffusionConfig) -> Schedule:
    """The schedule of a sampler.

    Raises:
        UserError: the number of steps does not suit it.
    """
    check(sample, diffusion)
    if sample.sampler in FLOW_SAMPLERS:
        return _flow(sample, diffusion)
    takes_variance = sample.sampler == "ddpm" and diffusion.learns_variance
    scheduler = _diffusion(sample, diffusion)
    scheduler.set_timesteps(sample.num_steps)
    return Schedule(scheduler, scheduler.timesteps, sample.sampler == "ddpm", takes_variance)


def _flow(sample: SampleConfig, diffusion: DiffusionConfig) -> Schedule:
    from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

    kind: Any = FlowMatchHeunDiscreteScheduler if sample.sampler == "heun" else FlowMatchEulerDiscreteScheduler
    scheduler = kind(num_train_timesteps=sample.num_steps)
    scheduler.set_timesteps(sample.num_steps)
    times = scheduler.timesteps * (diffusion.num_train_steps / sample.num_steps)
    return Schedule(scheduler, times, draws_noise=False, takes_variance=False)


def _diffusion(sample: SampleConfig, diffusion: DiffusionConfig) -> Any:
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

    process = architecture.process_arguments(diffusion)
    scheduler: Any
    if sample.sampler == "dpm-solver++":
        scheduler = DPMSolverMultistepScheduler(**process, algorithm_type="dpmsolver++", solver_order=2)
    elif sample.sampler == "unipc":
        scheduler = UniPCMultistepScheduler(**process, solver_order=2)
    elif sample.sampler == "ddim":
        scheduler = DDIMScheduler(**process, clip_sample=False, timestep_spacing="leading")
    else:
        scheduler = DDPMScheduler(**architecture.ddpm_arguments(diffusion))
    scheduler.alphas_cumprod = kept_signal(diffusion)
    return scheduler
