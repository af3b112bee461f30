"""From noise to latents: a schedule's steps, with given frames mixed in before every call of the model.

Mixing is exact because the schedulers work element by element; what the state holds at given places is never read.

Legend: B clips, T frames, C latent channels, h x w latent cells.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.experiment.sample_config import SampleConfig
from vdt_hpc.model import masks, schedules
from vdt_hpc.model.noise_key import NoiseKey

Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x (B, T, C, h, w), times (1,), mask (B, T, 1, h or 1, w or 1)) -> (B, T, C or 2C, h, w): what the model says, then
the variance's interpolation where it is learned. All clips share the time."""


def generate(
    denoiser: Denoiser,
    sample: SampleConfig,
    diffusion: DiffusionConfig,
    given: Tensor,
    mask: Tensor,
    keys: Sequence[NoiseKey],
    on_call: Callable[[], None] = lambda: None,
) -> Tensor:
    """Generate a batch of clips, as long as the model's window.

    Args:
        denoiser: the model, or any function like it.
        sample: sampler and number of steps.
        diffusion: the process that was trained.
        given: (B, T, C, h, w) scaled latents, read where the mask says given.
        mask: (B, T, 1, h or 1, w or 1), 1 = generate.
        keys: one per clip.
        on_call: called after every call of the model; it may raise to end early.

    Returns:
        (B, T, C, h, w) scaled latents; given places hold `given`, bit for bit.

    Raises:
        UserError: the number of steps does not suit the sampler.
    """
    assert len(keys) == len(given) == len(mask), (len(keys), len(given), len(mask))
    schedule = schedules.build(sample, diffusion)
    times = schedule.times.to(given.device)
    state = torch.stack([key.start(given.shape[1:]) for key in keys]).to(given.device)
    for call in range(len(times)):
        output = denoiser(masks.mix(given, state, mask), times[call : call + 1], mask).float()
        generators = [key.generator(call) for key in keys] if schedule.draws_noise else []
        state = schedule.step(call, output, state, generators)
        on_call()
    return masks.mix(given, state, mask)
