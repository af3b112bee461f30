import pytest
import torch

from tests.model.gaussian import normal
from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.model import masks, objective, vdt

CONFIG = DiffusionConfig()
SHAPE = (4, 2, 2, 2)


@pytest.fixture
def goal():
    return objective.Denoising(CONFIG)


def test_given_frames_cost_nothing_and_train_nothing(goal):
    clean, noise = normal(2, *SHAPE), normal(2, *SHAPE, seed=1)
    times = torch.tensor([3, 600])
    noisy = goal.noisy(clean, noise, times)
    mask = masks.batch([masks.prediction(4, 2), masks.unconditional(4)]).double()
    output = normal(2, 4, 4, 2, 2, seed=2).requires_grad_()
    losses = goal.losses(output, clean, noisy, noise, times, mask)
    losses.total.sum().backward()
    assert not output.grad[0, :2].any()
    assert output.grad[0, 2:].all()
    assert output.grad[1].all()
    changed = output.detach().clone()
    changed[0, :2] += 100
    after = goal.losses(changed, clean, noisy, noise, times, mask)
    assert torch.equal(after.total, losses.total)


def test_both_terms_are_means_over_generated_elements(goal):
    clean, noise = normal(1, *SHAPE), normal(1, *SHAPE, seed=1)
    times = torch.tensor([600])
    noisy = goal.noisy(clean, noise, times)
    output = normal(1, 4, 4, 2, 2, seed=2)
    losses = goal.losses(output, clean, noisy, noise, times, masks.batch([masks.prediction(4, 3)]).double())
    predicted, v = output[:, 3:].chunk(2, dim=2)
    assert losses.mse.item() == pytest.approx((predicted - noise[:, 3:]).square().mean().item())
    bits = goal.process.bound(predicted, v, clean[:, 3:], noisy[:, 3:], times)
    assert losses.vb.item() == pytest.approx(bits.mean().item())
    assert losses.total.item() == pytest.approx((losses.mse + losses.vb).item())


def test_the_bound_does_not_train_the_noise(goal):
    clean, noise = normal(1, *SHAPE), normal(1, *SHAPE, seed=1)
    output = normal(1, 4, 4, 2, 2, seed=2).requires_grad_()
    times = torch.tensor([600])
    mask = masks.batch([masks.unconditional(4)]).double()
    goal.losses(output, clean, goal.noisy(clean, noise, times), noise, times, mask).vb.sum().backward()
    assert not output.grad[:, :, :2].any()
    assert output.grad[:, :, 2:].all()


def test_velocity_and_noise_say_the_same(goal):
    clean, noise = normal(3, *SHAPE), normal(3, *SHAPE, seed=1)
    times = torch.tensor([1, 500, 999])
    noisy = goal.noisy(clean, noise, times)
    velocity = goal.process.velocity(clean, noise, times)
    torch.testing.assert_close(goal.process.noise_from_velocity(noisy, velocity, times), noise)
    both = objective.build(CONFIG.model_copy(update={"prediction": "velocity"}))
    mask = masks.batch([masks.prediction(4, 2)] * 3).double()
    output = torch.cat([velocity, torch.full_like(velocity, -1.0)], dim=2)
    losses = both.losses(output, clean, noisy, noise, times, mask)
    assert losses.total.abs().max() < 1e-9  # exact velocity, exact variance
    wrong = both.losses(output + 0.1, clean, noisy, noise, times, mask)
    torch.testing.assert_close(wrong.mse, torch.full((3,), 0.01, dtype=torch.float64))


def test_gradients_of_the_whole_loss(goal):
    model = vdt.VDT(latent_size=2, num_frames=3, channels=1, width=8, depth=1, num_heads=2, patch_size=2).double()
    names, weights = zip(*model.named_parameters(), strict=True)
    clean, noise = normal(2, 3, 1, 2, 2), normal(2, 3, 1, 2, 2, seed=1)
    times = torch.tensor([20, 800])
    noisy = goal.noisy(clean, noise, times)
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
            + objective.masked_mean(goal.process.bound(predicted, v, clean, noisy, times), mask).sum()
        )

    assert len(weights) == len(inputs)
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_a_fixed_variance_leaves_the_error_alone(prediction):
    goal = objective.build(DiffusionConfig(prediction=prediction, variance="fixed"))
    clean, noise, output = normal(2, *SHAPE), normal(2, *SHAPE, seed=1), normal(2, *SHAPE, seed=2)
    times = torch.tensor([3, 600])
    mask = masks.batch([masks.prediction(4, 2), masks.unconditional(4)]).double()
    losses = goal.losses(output, clean, goal.noisy(clean, noise, times), noise, times, mask)
    target = noise if prediction == "noise" else goal.process.velocity(clean, noise, times)
    errors = (target - output).square()
    torch.testing.assert_close(losses.total, torch.stack([errors[0, 2:].mean(), errors[1].mean()]))
    assert not losses.vb.any()


@pytest.mark.parametrize(("prediction", "divisor"), [("noise", 0), ("velocity", 1)])
def test_min_snr_weights_the_error_of_the_clean_latents_by_a_bounded_ratio(prediction, divisor):
    gamma, times = 5.0, torch.tensor([0, 100, 300, 999])
    plain, weighted = (
        objective.build(DiffusionConfig(prediction=prediction, min_snr_gamma=each)) for each in (None, gamma)
    )
    clean, noise, output = normal(4, *SHAPE), normal(4, *SHAPE, seed=1), normal(4, 4, 4, 2, 2, seed=2)
    mask = masks.batch([masks.prediction(4, 1)] * 4).double()
    noisy = plain.noisy(clean, noise, times)
    before, after = (goal.losses(output, clean, noisy, noise, times, mask) for goal in (plain, weighted))
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[times]
    ratio = kept / (1 - kept)
    assert (ratio > gamma).any()
    assert (ratio < gamma).any()
    torch.testing.assert_close(after.mse / before.mse, ratio.clamp(max=gamma) / (ratio + divisor))
    assert torch.equal(after.vb, before.vb)
    # The same weight says how much an error of the clean latents costs.
    said = (output[:, :, :2] - (noise if prediction == "noise" else plain.process.velocity(clean, noise, times)))[:, 1:]
    to_clean = {"noise": (1 - kept).sqrt() / kept.sqrt(), "velocity": (1 - kept).sqrt()}[prediction]
    error = (said * to_clean.view(-1, 1, 1, 1, 1)).square().mean((1, 2, 3, 4))
    torch.testing.assert_close(after.mse, ratio.clamp(max=gamma) * error)


def test_a_flow_is_the_straight_path_and_its_velocity():
    goal = objective.build(DiffusionConfig(prediction="flow"))
    clean, noise = normal(3, *SHAPE), normal(3, *SHAPE, seed=1)
    times = torch.tensor([0.0, 250.0, 1000.0])
    noisy = goal.noisy(clean, noise, times)
    torch.testing.assert_close(noisy[0], clean[0])
    torch.testing.assert_close(noisy[1], 0.75 * clean[1] + 0.25 * noise[1])
    torch.testing.assert_close(noisy[2], noise[2])
    mask = masks.batch([masks.prediction(4, 2), masks.unconditional(4), masks.prediction(4, 3)]).double()
    exact = goal.losses(noise - clean, clean, noisy, noise, times, mask)
    assert not exact.total.any()
    wrong = (noise - clean).clone()
    wrong[:, 3] += 0.5  # of the generated frames (2, 4 and 1 of them) one is wrong
    losses = goal.losses(wrong, clean, noisy, noise, times, mask)
    torch.testing.assert_close(losses.total, 0.25 / torch.tensor([2.0, 4.0, 1.0], dtype=torch.float64))
    wrong[0, 0] += 100  # given: counts for nothing
    assert torch.equal(goal.losses(wrong, clean, noisy, noise, times, mask).total, losses.total)


def test_the_best_flow_for_gaussian_data_is_the_known_one():
    """Least squares of noise - clean on x, over many draws at one time, gives the slope of the exact velocity."""
    share, std = 0.4, 0.5
    clean, noise = std * normal(100_000), normal(100_000, seed=1)
    x = (1 - share) * clean + share * noise
    slope = (x @ (noise - clean)) / (x @ x)
    exact = (share - (1 - share) * std**2) / ((1 - share) ** 2 * std**2 + share**2)
    assert slope.item() == pytest.approx(exact, abs=0.01)
