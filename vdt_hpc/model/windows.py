"""Samples longer than the model's window: windows that roll over the clip, each given the end of the one before.

Legend: B clips, L frames of a sample, T frames of a window, C latent channels, h x w latent cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.experiment.sample_config import SampleConfig
from vdt_hpc.model import masks, samplers
from vdt_hpc.model.noise_key import NoiseKey


def generate(
    denoiser: samplers.Denoiser,
    sample: SampleConfig,
    diffusion: DiffusionConfig,
    given: Tensor,
    mask: Tensor,
    keys: Sequence[NoiseKey],
    windows: Sequence[range],
    on_call: Callable[[], None] = lambda: None,
) -> Tensor:
    """Generate a batch of clips window by window.

    Args:
        denoiser, sample, diffusion, on_call: as for one window (`vdt_hpc.model.samplers.generate`).
        given: (B, L, C, h, w) scaled latents, read where the mask says given.
        mask: (B, L, 1, h or 1, w or 1), 1 = generate; with several windows, frames are given as a whole.
        keys: one per clip; the window's number enters the noise.
        windows: from `vdt_hpc.experiment.window_plan.plan`.

    Returns:
        (B, L, C, h, w) scaled latents; given places hold `given`, and each frame what its first window made of it, bit
        for bit.

    Raises:
        UserError: the number of steps does not suit the sampler.
    """
    if len(windows) == 1:
        return samplers.generate(denoiser, sample, diffusion, given, mask, keys, on_call)
    video, open_places = given.clone(), mask.clone()
    for number, frames in enumerate(windows):
        inside = range(max(frames.start, 0), min(frames.stop, given.shape[1]))
        here, there = slice(inside.start - frames.start, inside.stop - frames.start), slice(inside.start, inside.stop)
        start = video.new_zeros(len(video), len(frames), *video.shape[2:])  # frames beyond the sample are generated
        start[:, here] = video[:, there]
        wanted = mask.new_full((len(mask), len(frames), *mask.shape[2:]), masks.GENERATE)
        wanted[:, here] = open_places[:, there]
        own = [replace(key, window=number) for key in keys]
        made = samplers.generate(denoiser, sample, diffusion, start, wanted, own, on_call)
        video[:, there] = torch.where(open_places[:, there] == masks.GENERATE, made[:, here], video[:, there])
        open_places[:, there] = masks.GIVEN
    return video
