import numpy as np
import pytest

from jobs import times
from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.model.noise import stream

UNIFORM = DiffusionConfig(prediction="flow")
LOGIT_NORMAL = DiffusionConfig(
    prediction="flow", flow_times="logit-normal", logit_normal_mean=-0.5, logit_normal_std=1.5
)


def drawn(diffusion, count=4000):
    return times.as_array([times.draw(stream(0, 1, place), diffusion) for place in range(count)])


def test_noise_and_velocity_have_whole_times():
    for prediction in ("noise", "velocity"):
        made = drawn(DiffusionConfig(prediction=prediction))
        assert made.dtype == np.int64
        assert (made.min(), made.max()) == pytest.approx((0, 999), abs=5)
        assert made.mean() == pytest.approx(499.5, abs=20)


def test_the_times_of_a_flow_are_uniform_above_zero():
    made = drawn(UNIFORM)
    assert made.dtype == np.float32
    assert 0 < made.min() < 3
    assert 997 < made.max() <= 1000
    assert np.quantile(made, [0.25, 0.5, 0.75]) == pytest.approx([250, 500, 750], abs=25)
    assert len(np.unique(made)) > 3900


def test_the_logits_of_times_are_normal_if_so_configured():
    sigmas = drawn(LOGIT_NORMAL).astype(np.float64) / 1000
    logits = np.log(sigmas / (1 - sigmas))
    assert logits.mean() == pytest.approx(-0.5, abs=0.07)
    assert logits.std() == pytest.approx(1.5, abs=0.06)
    within = np.mean(np.abs(logits + 0.5) < 1.5)
    assert within == pytest.approx(0.6827, abs=0.025)


@pytest.mark.parametrize("diffusion", [UNIFORM, LOGIT_NORMAL, DiffusionConfig()])
def test_quantiles_are_those_of_the_draws(diffusion):
    levels = np.arange(1, 10) / 10
    expected = [times.quantile(diffusion, level) for level in levels]
    assert np.quantile(drawn(diffusion), levels) == pytest.approx(expected, abs=30)


@pytest.mark.parametrize("mean", [-200.0, 0.0, 200.0])
def test_the_tails_stay_within_the_range(mean):
    diffusion = LOGIT_NORMAL.model_copy(update={"logit_normal_mean": mean})
    made = times.as_array([times.quantile(diffusion, level) for level in (1e-300, 2.0**-53, 0.5, 1.0)])
    assert (made > 0).all() and (made <= 1000).all()
    assert (np.diff(made) >= 0).all()
