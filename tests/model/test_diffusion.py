import math

import numpy as np
import pytest
import torch

from tests.model.gaussian import normal
from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.model import diffusion as forward

CONFIG = DiffusionConfig()
BETAS = np.linspace(CONFIG.beta_start, CONFIG.beta_end, CONFIG.num_train_steps)
KEPT = np.cumprod(1 - BETAS)
SHAPE = (4, 2, 2, 2)


@pytest.fixture
def diffusion():
    return forward.Diffusion(CONFIG)


def density(x, mean, variance):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def test_noisy_latents_follow_the_closed_form(diffusion):
    clean, noise = normal(3, *SHAPE), normal(3, *SHAPE, seed=1)
    times = torch.tensor([0, 500, 999])
    noisy = diffusion.noisy(clean, noise, times)
    for row, time in enumerate(times.tolist()):
        expected = math.sqrt(KEPT[time]) * clean[row] + math.sqrt(1 - KEPT[time]) * noise[row]
        torch.testing.assert_close(noisy[row], expected)
    torch.testing.assert_close(diffusion.clean_from_noise(noisy, noise, times), clean, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("time", [1, 10, 400, 999])
def test_the_bound_is_the_integrated_divergence(diffusion, time):
    """The posterior comes from Bayes' rule on a grid, the divergence from summing p log(p / q) over it."""
    clean, predicted, v = 0.7, 0.3, 0.25
    noisy = math.sqrt(KEPT[time]) * clean - 0.5 * math.sqrt(1 - KEPT[time])
    one = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
    bits = diffusion.bound(predicted * one, v * one, clean * one, noisy * one, torch.tensor([time])).item()

    kept, before, beta = KEPT[time], KEPT[time - 1], BETAS[time]
    variance = beta * (1 - before) / (1 - kept)
    middle = noisy * math.sqrt(1 - beta) * (1 - before) / (1 - kept) + clean * math.sqrt(before) * beta / (1 - kept)
    x = middle + np.linspace(-14, 14, 200_001) * math.sqrt(variance)
    true = density(noisy, math.sqrt(1 - beta) * x, beta) * density(x, math.sqrt(before) * clean, 1 - before)
    true /= true.sum()
    guess = (noisy - math.sqrt(1 - kept) * predicted) / math.sqrt(kept)
    mean = middle + (guess - clean) * math.sqrt(before) * beta / (1 - kept)
    fraction = (v + 1) / 2
    model_variance = math.exp(fraction * math.log(beta) + (1 - fraction) * math.log(variance))
    log_model = -((x - mean) ** 2) / (2 * model_variance) - 0.5 * math.log(2 * math.pi * model_variance)
    log_true = np.log(np.maximum(true / (x[1] - x[0]), 1e-300))
    assert bits == pytest.approx((true * (log_true - log_model)).sum() / math.log(2), rel=2e-5)


def test_the_bound_is_zero_for_the_exact_posterior(diffusion):
    times = torch.tensor([1, 2, 300, 999])
    clean, noise = normal(4, *SHAPE), normal(4, *SHAPE, seed=1)
    v = torch.full_like(clean, -1.0)  # the posterior's own variance
    bits = diffusion.bound(noise, v, clean, diffusion.noisy(clean, noise, times), times)
    assert bits.abs().max() < 1e-9


def test_the_learned_variance_lies_between_posterior_and_beta(diffusion):
    times = torch.tensor([700])
    for v, expected in ((1.0, BETAS[700]), (-1.0, BETAS[700] * (1 - KEPT[699]) / (1 - KEPT[700]))):
        learned = diffusion.learned_log_variance(torch.full((1, *SHAPE), v, dtype=torch.float64), times)
        assert learned.exp().flatten()[0].item() == pytest.approx(expected)


def test_bins_hold_all_probability():
    edges = torch.arange(-1, 1 + 1e-9, 2 / 255, dtype=torch.float64)
    log_probability = forward.binned_log_likelihood(edges, torch.tensor(0.3), torch.tensor(-1.5))
    assert log_probability.exp().sum().item() == pytest.approx(1, abs=1e-9)
