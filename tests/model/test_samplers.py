import math

import pytest
import torch

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import DiffusionConfig, SampleConfig
from vdt_hpc.model import masks, samplers, vdt

PROCESS = DiffusionConfig()
KEPT = torch.cumprod(1 - torch.linspace(PROCESS.beta_start, PROCESS.beta_end, 1000, dtype=torch.float64), 0)
MEAN, STD = 0.6, 0.5


def gaussian(x, times):
    """The exact noise for data of N(MEAN, STD^2), and the larger variance."""
    kept = KEPT[times].float().view(-1, 1, 1, 1, 1)
    clean = MEAN + STD**2 * kept.sqrt() / (STD**2 * kept + 1 - kept) * (x - kept.sqrt() * MEAN)
    noise = (x - kept.sqrt() * clean) / (1 - kept).sqrt()
    return torch.cat([noise, torch.ones_like(noise)], dim=2)


def keys(count, seed=0, task="prediction", first=0):
    return [samplers.NoiseKey(seed, task, clip, 0) for clip in range(first, first + count)]


def draw(sampler, steps, count=8, given_frames=2, denoiser=gaussian, first=0, seed=0):
    sample = SampleConfig(sampler=sampler, num_steps=steps)
    given = torch.arange(8.0)[first : first + count].view(-1, 1, 1, 1, 1).expand(-1, 6, 3, 4, 4) + 0.123
    mask = masks.batch([masks.for_task("prediction", 6, given_frames)] * count)
    drawn = samplers.generate(denoiser, sample, PROCESS, given, mask, keys(count, seed, first=first))
    return drawn, given


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_given_frames_come_back_bit_for_bit_and_go_in_at_every_step(sampler):
    seen = []

    def spy(x, times):
        seen.append(x[:, :2].clone())
        return gaussian(x, times)

    drawn, given = draw(sampler, 10, denoiser=spy)
    assert torch.equal(drawn[:, :2], given[:, :2])
    assert not torch.isclose(drawn[:, 2:], given[:, 2:]).all()
    assert len(seen) == 10
    assert all(torch.equal(frames, given[:, :2]) for frames in seen)


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 250), ("ddim", 500)])
def test_the_exact_denoiser_gives_back_mean_and_variance(sampler, steps):
    sample = SampleConfig(sampler=sampler, num_steps=steps)
    empty = torch.zeros(8, 6, 4, 8, 8)
    mask = masks.batch([masks.unconditional(6)] * 8)
    drawn = samplers.generate(gaussian, sample, PROCESS, empty, mask, keys(8, task="unconditional"))
    error = STD / math.sqrt(drawn.numel())
    assert drawn.mean().item() == pytest.approx(MEAN, abs=5 * error)
    assert drawn.std().item() == pytest.approx(STD, rel=0.02)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_a_model_that_says_velocity_gives_the_same_samples(sampler):
    def velocity(x, times):
        kept = KEPT[times].float().view(-1, 1, 1, 1, 1)
        noise, spread = gaussian(x, times).chunk(2, dim=2)
        clean = (x - (1 - kept).sqrt() * noise) / kept.sqrt()
        return torch.cat([kept.sqrt() * noise - (1 - kept).sqrt() * clean, spread], dim=2)

    sample = SampleConfig(sampler=sampler, num_steps=20)
    empty, mask = torch.zeros(2, 6, 3, 4, 4), masks.batch([masks.unconditional(6)] * 2)
    drawn = [
        samplers.generate(denoiser, sample, process, empty, mask, keys(2))
        for denoiser, process in (
            (gaussian, PROCESS),
            (velocity, PROCESS.model_copy(update={"prediction": "velocity"})),
        )
    ]
    torch.testing.assert_close(drawn[1], drawn[0], rtol=1e-3, atol=1e-3)


def test_ddim_converges_with_more_steps():
    def variance_error(steps):
        drawn, _ = draw("ddim", steps, given_frames=1)
        return abs(drawn[:, 1:].std().item() - STD)

    assert variance_error(10) > variance_error(40) > variance_error(250)


def test_ddim_is_deterministic_given_its_start(monkeypatch):
    first, _ = draw("ddim", 20)
    monkeypatch.setattr(samplers.NoiseKey, "generator", None)  # no noise is asked for on the way
    torch.manual_seed(1234)
    assert torch.equal(draw("ddim", 20)[0], first)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_a_sample_depends_on_its_key_alone(sampler):
    whole, _ = draw(sampler, 20)
    for first, count in ((0, 1), (3, 4), (1, 7)):
        part, _ = draw(sampler, 20, count=count, first=first)
        assert torch.equal(part, whole[first : first + count])
    assert not torch.equal(draw(sampler, 20, seed=1)[0], whole)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_the_batch_size_changes_rounding_alone(sampler):
    model = vdt.VDT(latent_size=4, num_frames=6, channels=3, width=16, depth=1, num_heads=2, patch_size=2)
    with torch.inference_mode():
        whole, _ = draw(sampler, 10, denoiser=model)
        for clip in range(8):
            alone, _ = draw(sampler, 10, denoiser=model, count=1, first=clip)
            torch.testing.assert_close(alone[0], whole[clip], rtol=1e-4, atol=1e-4)


def test_noise_differs_between_keys_and_steps():
    shape = (2, 3)
    key = samplers.NoiseKey(0, "prediction", 1, 0)
    others = [
        samplers.NoiseKey(1, "prediction", 1, 0),
        samplers.NoiseKey(0, "unconditional", 1, 0),
        samplers.NoiseKey(0, "prediction", 0, 1),
        samplers.NoiseKey(0, "prediction", 2, 0),
    ]
    assert torch.equal(key.start(shape), samplers.NoiseKey(0, "prediction", 1, 0).start(shape))
    assert key.generator(3).initial_seed() == samplers.NoiseKey(0, "prediction", 1, 0).generator(3).initial_seed()
    for other in others:
        assert not torch.equal(key.start(shape), other.start(shape))
        assert key.generator(3).initial_seed() != other.generator(3).initial_seed()
    assert key.generator(3).initial_seed() != key.generator(4).initial_seed()


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 1), ("ddpm", 1), ("ddim", 400), ("ddim", 1001)])
def test_steps_that_cannot_be_spaced_are_refused(sampler, steps):
    with pytest.raises(UserError, match="num_steps"):
        samplers.check(SampleConfig(sampler=sampler, num_steps=steps), PROCESS)


@pytest.mark.parametrize("steps", [2, 16, 25, 30, 50, 100, 250, 500, 1000])
def test_usual_numbers_of_steps_are_taken(steps):
    for sampler in ("ddpm", "ddim"):
        samplers.check(SampleConfig(sampler=sampler, num_steps=steps), PROCESS)
