import numpy as np
import pytest
import torch

from tests.model.gaussian import BETAS, KEPT, MEAN, PROCESS, SAMPLERS, STD, end_of, keys, model_of, settings
from vdt_hpc.model import masks, samplers, schedules, vdt
from vdt_hpc.model.noise_key import NoiseKey

DETERMINISTIC = SAMPLERS[1:]


def task_masks(num_frames=6, side=4):
    """A mask of every kind: nothing, frames at the beginning, the end, in the middle, here and there, and cells."""
    cells = np.ones((num_frames, 1, side, side), np.float32)
    cells[0] = cells[-1] = 0
    cells[2, 0, 1:, :2] = 0
    by_frame = [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 0, 1, 1, 1], [0, 1, 1, 0, 1, 1]]
    whole = [np.array(each, np.float32)[:, None, None, None].repeat(side, 2).repeat(side, 3) for each in by_frame]
    return torch.from_numpy(np.stack([*whole, cells]))


def draw(sampler, steps, count=8, first=0, seed=0, mask=None, denoiser=None, channels=3, **process):
    sample, process = settings(sampler, steps, **process)
    given = torch.arange(8.0)[first : first + count].view(-1, 1, 1, 1, 1).expand(-1, 6, channels, 4, 4) + 0.123
    mask = masks.batch([masks.prediction(6, 2)] * count) if mask is None else mask
    denoiser = denoiser or model_of(process)
    return samplers.generate(denoiser, sample, process, given, mask, keys(count, seed, first=first)), given


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_given_places_come_back_bit_for_bit_and_go_in_at_every_call(sampler):
    mask = task_masks()
    sample, process = settings(sampler, 10)
    exact, seen = model_of(process), []

    def spy(x, times, shown):
        assert torch.equal(shown, mask)
        assert times.shape == (1,)
        seen.append(x.clone())
        return exact(x, times, shown)

    drawn, given = draw(sampler, 10, count=6, mask=mask, denoiser=spy)
    places = (mask == masks.GIVEN).expand_as(given)
    assert places.any()
    assert torch.equal(drawn[places], given[places])
    assert not torch.isclose(drawn[~places], given[~places]).all()
    assert len(seen) == schedules.num_calls(sample)
    assert all(torch.equal(x[places], given[places]) for x in seen)


@pytest.mark.parametrize(
    ("sampler", "steps"),
    [("ddpm", 250), ("ddim", 500), ("dpm-solver++", 40), ("unipc", 40), ("euler", 250), ("heun", 30)],
)
def test_the_exact_model_gives_back_mean_and_variance(sampler, steps):
    sample, process = settings(sampler, steps)
    empty, mask = torch.zeros(8, 6, 4, 8, 8), masks.batch([masks.unconditional(6)] * 8)
    drawn = samplers.generate(model_of(process), sample, process, empty, mask, keys(8, task="unconditional"))
    assert drawn.mean().item() == pytest.approx(MEAN, abs=5 * STD / drawn.numel() ** 0.5 + 0.01)
    assert drawn.std().item() == pytest.approx(STD, rel=0.02)


def test_ddpm_without_a_learned_variance_takes_the_posteriors():
    sample, process = settings("ddpm", 1000, variance="fixed")
    empty, mask = torch.zeros(4, 6, 4, 8, 8), masks.batch([masks.unconditional(6)] * 4)
    drawn = samplers.generate(model_of(process), sample, process, empty, mask, keys(4))
    assert drawn.std().item() == pytest.approx(STD, rel=0.03)


@pytest.mark.parametrize(
    ("sampler", "order"), [("ddim", 1), ("euler", 1), ("dpm-solver++", 2), ("unipc", 2), ("heun", 2)]
)
def test_the_error_falls_with_the_samplers_order(sampler, order):
    numbers = np.array([10, 20, 40])
    errors = []
    for steps in numbers.tolist():
        sample, process = settings(sampler, steps)
        empty, mask = torch.zeros(2, 4, 2, 4, 4), masks.batch([masks.unconditional(4)] * 2)
        drawn = samplers.generate(model_of(process), sample, process, empty, mask, keys(2))
        start = torch.stack([key.start(empty.shape[1:]) for key in keys(2)])
        first_time = int(schedules.build(sample, process).times[0])
        errors.append((drawn - end_of(start, process, first_time)).abs().max().item())
    slope = np.polyfit(np.log(numbers), np.log(errors), 1)[0]
    assert -slope > 0.85 * order, errors
    assert errors[-1] < 0.15 / order**3


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm-solver++", "unipc"])
def test_a_model_that_says_velocity_gives_the_same_samples(sampler):
    noise, _ = draw(sampler, 20)
    velocity, _ = draw(sampler, 20, prediction="velocity")
    torch.testing.assert_close(velocity, noise, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_all_but_ddpm_are_deterministic_given_their_start(sampler, monkeypatch):
    first, _ = draw(sampler, 20)
    monkeypatch.setattr(NoiseKey, "generator", None)  # no noise is asked for on the way
    torch.manual_seed(1234)
    assert torch.equal(draw(sampler, 20)[0], first)


@pytest.mark.parametrize("steps", [16, 100, 250, 1000])
def test_respaced_betas_follow_from_what_is_kept(steps):
    sample, process = settings("ddpm", steps)
    schedule = schedules.build(sample, process)
    times = schedule.times.tolist()
    assert (times[0], times[-1], len(set(times))) == (999, 0, steps)
    for time, before in zip(times, [*times[1:], None], strict=True):
        kept_before = 1.0 if before is None else KEPT[before].item()
        beta = 1 - KEPT[time].item() / kept_before
        larger = schedule.scheduler._get_variance(time, predicted_variance=torch.tensor(1.0, dtype=torch.float64))
        assert larger.exp().item() == pytest.approx(beta, rel=1e-6)
    if steps == 1000:
        assert beta == pytest.approx(BETAS[0].item())


def test_a_flow_takes_equal_steps_from_noise_to_data():
    times = schedules.build(*settings("euler", 4)).times
    assert times.tolist() == [1000, 750, 500, 250]
    twice = schedules.build(*settings("heun", 4)).times
    assert twice.tolist() == [1000, 750, 750, 500, 500, 250, 250]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_depends_on_its_key_alone(sampler):
    whole, _ = draw(sampler, 20)
    for first, count in ((0, 1), (3, 4), (1, 7)):
        part, _ = draw(sampler, 20, count=count, first=first)
        assert torch.equal(part, whole[first : first + count])
    assert not torch.equal(draw(sampler, 20, seed=1)[0], whole)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("options", [{}, {"mask_channel": True, "frame_times": True, "qk_norm": True}])
def test_the_batch_size_changes_no_bit(sampler, options):
    _, process = settings(sampler, 6)
    model = vdt.VDT(
        latent_size=4, num_frames=6, channels=4, width=64, depth=2, num_heads=4, patch_size=2,
        out_channels=8 if process.learns_variance else 4, **options,
    )  # fmt: skip
    model.initialise(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():  # adaLN-zero starts as the identity
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    with torch.inference_mode():
        whole, _ = draw(sampler, 6, count=7, denoiser=model, channels=4)
        assert whole.isfinite().all()
        four, _ = draw(sampler, 6, count=4, first=3, denoiser=model, channels=4)
        assert torch.equal(four, whole[3:])
        for clip in range(7):
            alone, _ = draw(sampler, 6, count=1, first=clip, denoiser=model, channels=4)
            assert torch.equal(alone[0], whole[clip])


def test_noise_differs_between_keys_windows_and_steps():
    shape = (2, 3)
    key = NoiseKey(0, "prediction", 1, 0)
    others = [
        NoiseKey(1, "prediction", 1, 0),
        NoiseKey(0, "unconditional", 1, 0),
        NoiseKey(0, "prediction", 0, 1),
        NoiseKey(0, "prediction", 2, 0),
        NoiseKey(0, "prediction", 1, 0, window=1),
    ]
    assert torch.equal(key.start(shape), NoiseKey(0, "prediction", 1, 0).start(shape))
    assert key.generator(3).initial_seed() == NoiseKey(0, "prediction", 1, 0).generator(3).initial_seed()
    for other in others:
        assert not torch.equal(key.start(shape), other.start(shape))
        assert key.generator(3).initial_seed() != other.generator(3).initial_seed()
    assert key.generator(3).initial_seed() != key.generator(4).initial_seed()


@pytest.mark.parametrize(
    ("sampler", "steps"),
    [("ddim", 1), ("ddpm", 1), ("ddim", 400), ("ddim", 1001), ("unipc", 1), ("unipc", 1000), ("dpm-solver++", 1000)],
)
def test_steps_that_cannot_be_spaced_are_refused(sampler, steps):
    with pytest.raises(schedules.UserError, match="num_steps"):
        schedules.check(settings(sampler, steps)[0], PROCESS)


@pytest.mark.parametrize("steps", [2, 16, 25, 30, 50, 100, 250, 500])
def test_usual_numbers_of_steps_are_taken(steps):
    for sampler in SAMPLERS:
        schedules.build(*settings(sampler, steps))


@pytest.mark.parametrize(
    ("sampler", "most"), [("ddpm", 1000), ("ddim", 1000), ("dpm-solver++", 999), ("unipc", 999), ("euler", 1500)]
)
def test_the_most_steps_a_sampler_takes_end_on_the_exact_path(sampler, most):
    sample, process = settings(sampler, most)
    empty, mask = torch.zeros(1, 2, 2, 2, 2), masks.batch([masks.unconditional(2)])
    drawn = samplers.generate(model_of(process), sample, process, empty, mask, keys(1))
    first_time = int(schedules.build(sample, process).times[0])
    end = end_of(torch.stack([key.start(empty.shape[1:]) for key in keys(1)]), process, first_time)
    assert drawn.isfinite().all()
    if sampler != "ddpm":
        assert (drawn - end).abs().max() < 3e-3
