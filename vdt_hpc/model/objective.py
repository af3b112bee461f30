"""The forward process and the training loss: prediction of noise (or velocity) with a learned variance.

Loss of one clip = masked mean of (eps - eps_hat)^2 + masked mean of the variational bound's term for its time
(arXiv 2102.09672, equation 16 with the mean's gradient stopped). Differences from VDT's own code, on purpose: both
terms are masked, and both are divided by the number of generated elements, so that given frames train nothing and a
long given prefix does not make a clip count less.

Legend: B clips, T frames, C latent channels, h x w latent cells.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vdt_hpc.experiment.config import DiffusionConfig


@dataclass(frozen=True)
class Losses:
    """Loss of each clip; total = mse + vb."""

    total: Tensor
    """(B,)"""
    mse: Tensor
    """(B,) mean squared error of the noise, or of the velocity, over generated elements."""
    vb: Tensor
    """(B,) term of the variational bound in bits per generated element, as in the official code."""


class Diffusion:
    """The forward process with linear betas; constants in float64.

    Args:
        config: number of steps, range of betas, and what the model predicts.
        device: where the constants live.
    """

    def __init__(self, config: DiffusionConfig, device: torch.device | str = "cpu") -> None:
        betas = torch.linspace(config.beta_start, config.beta_end, config.num_train_steps, dtype=torch.float64)
        kept = torch.cumprod(1 - betas, 0)
        kept_before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
        variance = betas * (1 - kept_before) / (1 - kept)  # arXiv 2006.11239, equation 7
        self.num_steps = config.num_train_steps
        self.prediction = config.prediction
        self._signal = kept.sqrt().to(device)
        self._noise = (1 - kept).sqrt().to(device)
        self._mean_of_clean = (betas * kept_before.sqrt() / (1 - kept)).to(device)
        self._mean_of_noisy = ((1 - betas).sqrt() * (1 - kept_before) / (1 - kept)).to(device)
        # The variance is 0 at time 0; its logarithm there is taken from time 1.
        self._log_variance = torch.cat([variance[1:2], variance[1:]]).log().to(device)
        self._log_beta = betas.log().to(device)

    def noisy(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """A draw of x_t (arXiv 2006.11239, equation 4); clean, noise (B, T, C, h, w), times (B,)."""
        return _at(self._signal, times, clean) * clean + _at(self._noise, times, clean) * noise

    def velocity(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """How x_t turns from clean to noise (arXiv 2202.00512, appendix D); shapes as `noisy`."""
        return _at(self._signal, times, clean) * noise - _at(self._noise, times, clean) * clean

    def noise_from_velocity(self, noisy: Tensor, velocity: Tensor, times: Tensor) -> Tensor:
        """The noise that this velocity means; shapes as `noisy`."""
        return _at(self._signal, times, noisy) * velocity + _at(self._noise, times, noisy) * noisy

    def clean_from_noise(self, noisy: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """The clean latents that this noise would have come from; shapes as `noisy`."""
        return (noisy - _at(self._noise, times, noisy) * noise) / _at(self._signal, times, noisy)

    def posterior_mean(self, clean: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0) (arXiv 2006.11239, equation 7); shapes as `noisy`."""
        return _at(self._mean_of_clean, times, clean) * clean + _at(self._mean_of_noisy, times, noisy) * noisy

    def posterior_log_variance(self, times: Tensor, like: Tensor) -> Tensor:
        """Log variance of q(x_{t-1} | x_t, x_0), (B, 1, 1, 1, 1); at time 0 that of time 1."""
        return _at(self._log_variance, times, like)

    def learned_log_variance(self, v: Tensor, times: Tensor) -> Tensor:
        """Interpolation between the posterior's log variance (v = -1) and log beta (v = 1), not clamped
        (arXiv 2102.09672, equation 15); v (B, T, C, h, w).
        """
        fraction = (v + 1) / 2
        return fraction * _at(self._log_beta, times, v) + (1 - fraction) * _at(self._log_variance, times, v)

    def losses(
        self, output: Tensor, clean: Tensor, noisy: Tensor, noise: Tensor, times: Tensor, mask: Tensor
    ) -> Losses:
        """Loss of each clip.

        Args:
            output: the model's output, (B, T, 2C, h, w).
            clean, noisy, noise: (B, T, C, h, w), `noisy` before given frames were put in.
            times: (B,) diffusion times, from 0.
            mask: (B, T, 1, h or 1, w or 1), 1 = generate; every clip has something to generate.
        """
        predicted, v = output.to(clean.dtype).chunk(2, dim=2)
        predicted_noise, target = predicted, noise
        if self.prediction == "velocity":
            predicted_noise, target = (
                self.noise_from_velocity(noisy, predicted, times),
                self.velocity(clean, noise, times),
            )
        mse = masked_mean((target - predicted).square(), mask)
        vb = masked_mean(self.bound(predicted_noise.detach(), v, clean, noisy, times), mask)
        return Losses(mse + vb, mse, vb)

    def bound(self, predicted: Tensor, v: Tensor, clean: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """The variational bound's term for each element, in bits, (B, T, C, h, w).

        KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) for t > 0 (arXiv 2006.11239, equation 5); at t = 0 the negative
        log likelihood in bins of 1/127.5 (section 3.3 there). Those bins mean little on latents; the term is kept
        because the published weights were trained with it.
        """
        true_mean = self.posterior_mean(clean, noisy, times)
        true_log_variance = self.posterior_log_variance(times, clean)
        mean = self.posterior_mean(self.clean_from_noise(noisy, predicted, times), noisy, times)
        log_variance = self.learned_log_variance(v, times)
        divergence = gaussian_kl(true_mean, true_log_variance, mean, log_variance)
        surprise = -binned_log_likelihood(clean, mean, 0.5 * log_variance)
        return torch.where(_per_clip(times, clean) == 0, surprise, divergence) / math.log(2)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over generated elements of each clip; values (B, T, C, h, w), mask (B, T, 1, h or 1, w or 1) -> (B,)."""
    weights = mask.expand_as(values)
    return (values * weights).flatten(1).sum(1) / weights.flatten(1).sum(1)


def gaussian_kl(mean1: Tensor, log_variance1: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """KL(N1 || N2) of two normal distributions, element by element, in nats."""
    difference = log_variance1 - log_variance2
    return 0.5 * (difference.exp() - 1 - difference + (mean1 - mean2).square() * (-log_variance2).exp())


def binned_log_likelihood(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log probability (nats) of the bin of width 2/255 around x; the outermost bins of [-1, 1] reach to infinity."""
    scale = (-log_std).exp()
    upper = torch.special.ndtr((x - mean + 1 / 255) * scale)
    lower = torch.special.ndtr((x - mean - 1 / 255) * scale)
    inner = torch.where(x > 0.999, 1 - lower, upper - lower)
    return torch.where(x < -0.999, upper, inner).clamp(min=1e-12).log()


def _at(table: Tensor, times: Tensor, like: Tensor) -> Tensor:
    """Values of a float64 table at the clips' times, (B, 1, 1, 1, 1), in the dtype of `like`."""
    return _per_clip(table[times].to(like.dtype), like)


def _per_clip(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))
