import math

import numpy as np
import pytest
import torch

from vdt_hpc.experiment.config import DiffusionConfig
from vdt_hpc.model import masks, objective, vdt

CONFIG = DiffusionConfig()
BETAS = np.linspace(CONFIG.beta_start, CONFIG.beta_end, CONFIG.num_train_steps)
KEPT = np.cumprod(1 - BETAS)
SHAPE = (4, 2, 2, 2)


@pytest.fixture
def diffusion():
    return objective.Diffusion(CONFIG)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
    log_probability = objective.binned_log_likelihood(edges, torch.tensor(0.3), torch.tensor(-1.5))
    assert log_probability.exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_given_frames_cost_nothing_and_train_nothing(diffusion):
    clean, noise = normal(2, *SHAPE), normal(2, *SHAPE, seed=1)
    times = torch.tensor([3, 600])
    noisy = diffusion.noisy(clean, noise, times)
    mask = masks.batch([masks.prediction(4, 2), masks.unconditional(4)]).double()
    output = normal(2, 4, 4, 2, 2, seed=2).requires_grad_()
    losses = diffusion.losses(output, clean, noisy, noise, times, mask)
    losses.total.sum().backward()
    assert not output.grad[0, :2].any()
    assert output.grad[0, 2:].all()
    assert output.grad[1].all()
    changed = output.detach().clone()
    changed[0, :2] += 100
    after = diffusion.losses(changed, clean, noisy, noise, times, mask)
    assert torch.equal(after.total, losses.total)


def test_both_terms_are_means_over_generated_elements(diffusion):
    clean, noise = normal(1, *SHAPE), normal(1, *SHAPE, seed=1)
    times = torch.tensor([600])
    noisy = diffusion.noisy(clean, noise, times)
    output = normal(1, 4, 4, 2, 2, seed=2)
    losses = diffusion.losses(output, clean, noisy, noise, times, masks.batch([masks.prediction(4, 3)]).double())
    predicted, v = output[:, 3:].chunk(2, dim=2)
    assert losses.mse.item() == pytest.approx((predicted - noise[:, 3:]).square().mean().item())
    bits = diffusion.bound(predicted, v, clean[:, 3:], noisy[:, 3:], times)
    assert losses.vb.item() == pytest.approx(bits.mean().item())
    assert losses.total.item() == pytest.approx((losses.mse + losses.vb).item())


def test_the_bound_does_not_train_the_noise(diffusion):
    clean, noise = normal(1, *SHAPE), normal(1, *SHAPE, seed=1)
    output = normal(1, 4, 4, 2, 2, seed=2).requires_grad_()
    times = torch.tensor([600])
    mask = masks.batch([masks.unconditional(4)]).double()
    diffusion.losses(output, clean, diffusion.noisy(clean, noise, times), noise, times, mask).vb.sum().backward()
    assert not output.grad[:, :, :2].any()
    assert output.grad[:, :, 2:].all()


def test_velocity_and_noise_say_the_same(diffusion):
    clean, noise = normal(3, *SHAPE), normal(3, *SHAPE, seed=1)
    times = torch.tensor([1, 500, 999])
    noisy = diffusion.noisy(clean, noise, times)
    velocity = diffusion.velocity(clean, noise, times)
    torch.testing.assert_close(diffusion.noise_from_velocity(noisy, velocity, times), noise)
    both = objective.Diffusion(CONFIG.model_copy(update={"prediction": "velocity"}))
    mask = masks.batch([masks.prediction(4, 2)] * 3).double()
    output = torch.cat([velocity, torch.full_like(velocity, -1.0)], dim=2)
    losses = both.losses(output, clean, noisy, noise, times, mask)
    assert losses.total.abs().max() < 1e-9  # exact velocity, exact variance
    wrong = both.losses(output + 0.1, clean, noisy, noise, times, mask)
    torch.testing.assert_close(wrong.mse, torch.full((3,), 0.01, dtype=torch.float64))


def test_gradients_of_the_whole_loss(diffusion):
    model = vdt.VDT(latent_size=2, num_frames=3, channels=1, width=8, depth=1, num_heads=2, patch_size=2).double()
    names, weights = zip(*model.named_parameters(), strict=True)
    clean, noise = normal(2, 3, 1, 2, 2), normal(2, 3, 1, 2, 2, seed=1)
    times = torch.tensor([20, 800])
    noisy = diffusion.noisy(clean, noise, times)
    mask = masks.batch([masks.prediction(3, 1), masks.unconditional(3)]).double()
    chosen = ("blocks.0.temporal_attn.qkv.weight", "blocks.0.attn.proj.bias", "final_layer.linear.bias")
    inputs = [weight.detach().clone().requires_grad_(name in chosen) for name, weight in model.named_parameters()]

    def loss(*values):
        output = torch.func.functional_call(
            model, dict(zip(names, values, strict=True)), (masks.mix(clean, noisy, mask), times)
        )
        predicted, v = output.chunk(2, dim=2)  # the stopped gradient is put back, else the numbers cannot agree
        return (
            objective.masked_mean((noise - predicted).square(), mask).sum()
            + objective.masked_mean(diffusion.bound(predicted, v, clean, noisy, times), mask).sum()
        )

    assert len(weights) == len(inputs)
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-6, fast_mode=True)
