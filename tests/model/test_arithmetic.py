"""Types of numbers by `train.precision`, and the process's settings while a run works."""

import pytest
import torch

from tests.model.test_vdt import awake
from vdt_hpc.commandline import load_run
from vdt_hpc.model import arithmetic, masks, vdt

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def settings():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.fixture
def strict_convolutions(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize(
    ("precision", "weights", "products"),
    [
        ("fp32", torch.float32, torch.float32),
        ("tf32", torch.float32, torch.float32),
        ("bf16", torch.float32, torch.bfloat16),
        ("fp64", torch.float64, torch.float64),
    ],
)
def test_types(precision, weights, products):
    config = load_run("smoke", [f"train.precision={precision}"])
    assert arithmetic.working_dtype(config) == weights
    layer = torch.nn.Linear(2, 2, dtype=weights)
    with arithmetic.autocast(config, CPU):
        assert layer(torch.zeros(1, 2, dtype=weights)).dtype == products


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_tf32_while_the_run_works(strict_convolutions, precision):
    config = load_run("smoke", [f"train.precision={precision}"])
    before = settings()
    assert before == ("highest", False)
    with pytest.raises(KeyError), arithmetic.products(config, GPU):
        assert settings() == ("high", True)
        raise KeyError
    assert settings() == before


@pytest.mark.parametrize(("precision", "device"), [("fp32", GPU), ("fp64", GPU), ("tf32", CPU), ("bf16", CPU)])
def test_strict_products_stay_strict(strict_convolutions, precision, device):
    config = load_run("smoke", [f"train.precision={precision}"])
    with arithmetic.products(config, device):
        assert settings() == ("highest", False)


@pytest.mark.parametrize("options", [{}, {"mask_channel": True, "frame_times": True, "qk_norm": True}])
def test_weights_kept_for_products_give_the_same_bits(options):
    changes = [f"model.{name}={value}".lower() for name, value in options.items()]
    run = load_run("smoke", ["train.precision=bf16", *changes])
    model = awake(vdt.build(run, 0)).eval().requires_grad_(False)
    x = torch.randn(2, run.model.num_frames, 4, run.latent_height, run.latent_height)
    mask = masks.batch([masks.prediction(run.model.num_frames, 2)] * 2)

    def said():
        with torch.inference_mode(), arithmetic.autocast(run, torch.device("cpu")):
            return model(x, torch.tensor([500]), mask)

    before = said()
    arithmetic.keep_for_products(model, run)
    assert model.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    assert model.blocks[0].temporal_norm1.weight.dtype == torch.float32
    assert torch.equal(said(), before)
