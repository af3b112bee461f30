"""What training minimises, clip by clip: an error over the generated elements, and the variational bound with it.

Loss of one clip of the published objective = masked mean of (eps - eps_hat)^2 + masked mean of the variational bound's
term for its time (arXiv 2102.09672, equation 16 with the mean's gradient stopped). Differences from VDT's own code, on
purpose: both terms are masked, and both are divided by the number of generated elements, so that given frames train
nothing and a long given prefix does not make a clip count less.

Legend: B clips, T frames, C latent channels, h x w latent cells.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.model.diffusion import Diffusion, per_clip


@dataclass(frozen=True)
class Losses:
    """Loss of each clip; total = mse + vb."""

    total: Tensor
    """(B,)"""
    mse: Tensor
    """(B,) mean squared error of what the model says, over generated elements, with the weight of its time."""
    vb: Tensor
    """(B,) term of the variational bound in bits per generated element, as in the official code; 0 without one."""


class Objective(ABC):
    """How clean latents become noisy ones, and what the model is to say of them."""

    @abstractmethod
    def noisy(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Latents at a time; clean, noise (B, T, C, h, w), times (B,)."""

    @abstractmethod
    def losses(
        self, output: Tensor, clean: Tensor, noisy: Tensor, noise: Tensor, times: Tensor, mask: Tensor
    ) -> Losses:
        """Loss of each clip.

        Args:
            output: the model's output, (B, T, C or 2C, h, w).
            clean, noisy, noise: (B, T, C, h, w), `noisy` before given frames were put in.
            times: (B,) times.
            mask: (B, T, 1, h or 1, w or 1), 1 = generate; every clip has something to generate.
        """


class Denoising(Objective):
    """Diffusion: the model says the noise or the velocity, and perhaps the variance of the way back.

    Args:
        config: the process, what the model says, and how times are weighted.
        device: where the constants live.
    """

    def __init__(self, config: DiffusionConfig, device: torch.device | str = "cpu") -> None:
        self._config, self.process = config, Diffusion(config, device)
        self._weights = None if config.min_snr_gamma is None else self._min_snr(config.min_snr_gamma)

    def _min_snr(self, gamma: float) -> Tensor:
        """Weight of each time, (num_train_steps,) float64 (arXiv 2303.09556, section 3.4): the error of the clean
        latents counts min(SNR, gamma) times, which is so much of the error of the noise, or of the velocity.
        """
        ratio = self.process.signal_to_noise
        return ratio.clamp(max=gamma) / (ratio + 1 if self._config.prediction == "velocity" else ratio)

    def noisy(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """As for every objective."""
        return self.process.noisy(clean, noise, times)

    def losses(
        self, output: Tensor, clean: Tensor, noisy: Tensor, noise: Tensor, times: Tensor, mask: Tensor
    ) -> Losses:
        """As for every objective."""
        output = output.to(clean.dtype)
        says_velocity = self._config.prediction == "velocity"
        predicted, v = output.chunk(2, dim=2) if self._config.learns_variance else (output, None)
        target = self.process.velocity(clean, noise, times) if says_velocity else noise
        mse = masked_mean((target - predicted).square(), mask)
        if self._weights is not None:
            mse = mse * self._weights[times].to(mse.dtype)
        if v is None:
            return Losses(mse, mse, torch.zeros_like(mse))
        predicted_noise = self.process.noise_from_velocity(noisy, predicted, times) if says_velocity else predicted
        bound = self.process.bound(predicted_noise.detach(), v, clean, noisy, times)
        vb = masked_mean(bound, mask)
        return Losses(mse + vb, mse, vb)


class Flow(Objective):
    """Rectified flow (arXiv 2209.03003): a straight path from data (time 0) to noise (time num_train_steps), and the
    velocity along it, noise - clean.

    Args:
        config: the number of times, which is the length of the path.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        self._length = config.num_train_steps

    def noisy(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """As for every objective; times may lie between whole numbers."""
        return torch.lerp(clean, noise, per_clip((times / self._length).to(clean.dtype), clean))

    def losses(
        self, output: Tensor, clean: Tensor, noisy: Tensor, noise: Tensor, times: Tensor, mask: Tensor
    ) -> Losses:
        """As for every objective."""
        mse = masked_mean((noise - clean - output.to(clean.dtype)).square(), mask)
        return Losses(mse, mse, torch.zeros_like(mse))


def build(config: DiffusionConfig, device: torch.device | str = "cpu") -> Objective:
    """The objective of a run; its constants live on the device."""
    return Flow(config) if config.prediction == "flow" else Denoising(config, device)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over generated elements of each clip; values (B, T, C, h, w), mask (B, T, 1, h or 1, w or 1) -> (B,)."""
    weights = mask.expand_as(values)
    return (values * weights).flatten(1).sum(1) / weights.flatten(1).sum(1)
