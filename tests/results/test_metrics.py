"""Metrics as objects: what they state, what they lack, and LPIPS of a clip."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from results.metrics import base
from tests.quality.made_alexnet import alexnet
from vdt_hpc.errors import UserError
from vdt_hpc.quality.perception import open_lpips
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.quality.weights import MissingWeights

NAMES = ("fvd", "ssim", "psnr", "lpips")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(folder))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_states_what_it_is(name):
    metric = base.find(name)
    assert metric.direction == {"fvd": "down", "lpips": "down", "ssim": "up", "psnr": "up"}[name]
    assert metric.arrow == {"up": "↑", "down": "↓"}[metric.direction]
    assert metric.label and metric.how and metric.citation and metric.value_range


def test_an_unknown_metric_is_named():
    with pytest.raises(UserError, match="unknown metric 'jedi'"):
        base.find("jedi")


@pytest.mark.parametrize(("name", "file"), [("lpips", "alexnet-owt-7be5be79.pth"), ("fvd", "i3d_torchscript.pt")])
def test_missing_weights_say_what_to_do(weights, name, file):
    metric = base.find(name)
    reason = metric.unavailable()
    assert "weights not found: put " + file in reason
    assert "$VDT_HPC_WEIGHTS" in reason
    assert str(weights) not in reason  # a record is read on other machines
    with pytest.raises(MissingWeights):
        metric.open()
    (weights / file).touch()
    assert metric.unavailable() is None


def test_lpips_is_the_networks_frame_by_frame(weights):
    save_file(alexnet(), weights / "alexnet-owt-7be5be79.safetensors")
    generator = np.random.default_rng(0)
    pair = [Pixels(generator.integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)) for _ in range(2)]
    by_frame = open_lpips(torch.device("cpu"))(*pair)
    metric = base.find("lpips")
    assert np.array_equal(metric.open()(*pair), by_frame)
    assert metric.of_frames(by_frame) == by_frame.mean()


@pytest.mark.parametrize("name", ["lpips", "fvd"])
def test_weights_of_another_network_are_refused(weights, name):
    save_file({"features.0.weight": torch.zeros(1)}, weights / "alexnet-owt-7be5be79.safetensors")
    (weights / "i3d_torchscript.pt").write_text("not a network")
    with pytest.raises(UserError, match="replace it"):
        base.find(name).open()


def test_the_interval_covers_the_mean_and_repeats():
    values = np.random.default_rng(0).normal(10, 2, 400)
    low, high = base.bootstrap(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 2 / np.sqrt(400), rel=0.15)
    assert base.bootstrap(values) == (low, high)
    assert base.bootstrap([3.0]) is None
    assert base.bootstrap([2.0, 2.0]) == (2.0, 2.0)
