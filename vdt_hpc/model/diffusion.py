"""The forward process of diffusion and its variational bound (arXiv 2006.11239), with a learned variance.

Legend: B clips, T frames, C latent channels, h x w latent cells.
"""

import math

import torch
from torch import Tensor

from vdt_hpc.experiment.model_config import DiffusionConfig


class Diffusion:
    """The forward process with linear betas; constants in float64.

    Args:
        config: number of steps and range of betas.
        device: where the constants live.
    """

    def __init__(self, config: DiffusionConfig, device: torch.device | str = "cpu") -> None:
        beta, kept = betas(config), kept_signal(config)
        kept_before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
        variance = beta * (1 - kept_before) / (1 - kept)  # arXiv 2006.11239, equation 7
        self.signal_to_noise = (kept / (1 - kept)).to(device)
        """(num_train_steps,) float64"""
        self._signal = kept.sqrt().to(device)
        self._noise = (1 - kept).sqrt().to(device)
        self._mean_of_clean = (beta * kept_before.sqrt() / (1 - kept)).to(device)
        self._mean_of_noisy = ((1 - beta).sqrt() * (1 - kept_before) / (1 - kept)).to(device)
        # The variance is 0 at time 0; its logarithm there is taken from time 1.
        self._log_variance = torch.cat([variance[1:2], variance[1:]]).log().to(device)
        self._log_beta = beta.log().to(device)

    def noisy(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """A draw of x_t (arXiv 2006.11239, equation 4); clean, noise (B, T, C, h, w), times (B,)."""
        return at(self._signal, times, clean) * clean + at(self._noise, times, clean) * noise

    def velocity(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """How x_t turns from clean to noise (arXiv 2202.00512, appendix D); shapes as `noisy`."""
        return at(self._signal, times, clean) * noise - at(self._noise, times, clean) * clean

    def noise_from_velocity(self, noisy: Tensor, velocity: Tensor, times: Tensor) -> Tensor:
        """The noise that this velocity means; shapes as `noisy`."""
        return at(self._signal, times, noisy) * velocity + at(self._noise, times, noisy) * noisy

    def clean_from_noise(self, noisy: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """The clean latents that this noise would have come from; shapes as `noisy`."""
        return (noisy - at(self._noise, times, noisy) * noise) / at(self._signal, times, noisy)

    def posterior_mean(self, clean: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0) (arXiv 2006.11239, equation 7); shapes as `noisy`."""
        return at(self._mean_of_clean, times, clean) * clean + at(self._mean_of_noisy, times, noisy) * noisy

    def posterior_log_variance(self, times: Tensor, like: Tensor) -> Tensor:
        """Log variance of q(x_{t-1} | x_t, x_0), (B, 1, 1, 1, 1); at time 0 that of time 1."""
        return at(self._log_variance, times, like)

    def learned_log_variance(self, v: Tensor, times: Tensor) -> Tensor:
        """Interpolation between the posterior's log variance (v = -1) and log beta (v = 1), not clamped
        (arXiv 2102.09672, equation 15); v (B, T, C, h, w).
        """
        fraction = (v + 1) / 2
        return fraction * at(self._log_beta, times, v) + (1 - fraction) * at(self._log_variance, times, v)

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
        return torch.where(per_clip(times, clean) == 0, surprise, divergence) / math.log(2)


def betas(config: DiffusionConfig) -> Tensor:
    """Variance that each step adds, (num_train_steps,) float64."""
    return torch.linspace(config.beta_start, config.beta_end, config.num_train_steps, dtype=torch.float64)


def kept_signal(config: DiffusionConfig) -> Tensor:
    """Share of the clean latents' variance that is left at each time, (num_train_steps,) float64."""
    return torch.cumprod(1 - betas(config), 0)


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


def at(table: Tensor, times: Tensor, like: Tensor) -> Tensor:
    """Values of a float64 table at the clips' times, (B, 1, 1, 1, 1), in the dtype of `like`."""
    return per_clip(table[times].to(like.dtype), like)


def per_clip(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), as many dimensions as `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))
