import pytest
import torch

from vdt_hpc.experiment.config import OptimConfig
from vdt_hpc.model import ema


def test_the_halflife_is_counted_in_clips():
    config = OptimConfig(ema_halflife_clips=1000, ema_rampup_fraction=1.0)
    assert ema.decay(config, 100_000, 1000) == pytest.approx(0.5)
    assert ema.decay(config, 100_000, 100) ** 10 == pytest.approx(0.5)


def test_a_young_run_has_a_short_memory():
    config = OptimConfig(ema_halflife_clips=1000, ema_rampup_fraction=0.1)
    assert ema.decay(config, 800, 80) == pytest.approx(0.5)
    assert ema.decay(config, 10**6, 80) == pytest.approx(0.5**0.08)


@pytest.mark.parametrize("fields", [{"ema_halflife_clips": 0}, {"ema_rampup_fraction": 0.0}])
def test_without_memory_the_average_is_the_weights(fields):
    assert ema.decay(OptimConfig(**fields), 800, 80) == 0


def test_the_average_moves_and_keeps_the_models_keys():
    model = torch.nn.BatchNorm1d(3)
    average = ema.Ema(model)
    with torch.no_grad():
        model.weight.fill_(3.0)
    average.update(0.75)
    state = average.state_dict()
    assert set(state) == set(model.state_dict())
    assert state["weight"].tolist() == [1.5] * 3
    other = ema.Ema(torch.nn.BatchNorm1d(3))
    other.load_state_dict(state)
    assert other.state_dict()["weight"].tolist() == [1.5] * 3
    with pytest.raises(ValueError, match="other keys"):
        other.load_state_dict({"weight": state["weight"]})
