"""Metrics as objects: what they state, what they lack, and LPIPS of a clip."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from results.metrics import base
from tests.quality.made_alexnet import alexnet
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import metric_names
from vdt_hpc.experiment.weights import OF_METRICS
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


def test_the_login_node_knows_what_every_metric_needs():
    """Which has no numpy, and so cannot ask the metrics themselves."""
    names = [path.stem.replace("_", "-") for path in Path(base.__file__).parent.glob("[!_]*.py") if path.stem != "base"]
    assert {"lpips-vgg", "fvd-16-14"} < set(names)
    assert {name: needed for name in names if (needed := base.find(name).needs)} == OF_METRICS


@pytest.mark.parametrize("word", ["", ":mean", ":best", ":pooled", ":bset"])
@pytest.mark.parametrize(
    "name", [*OF_METRICS, "ssim", "psnr", "ssim-grey", "psnr-lab", "ssim-lab", "jedi", "ssim_grey"]
)
def test_the_login_node_knows_which_metrics_there_are(name, word):
    with contextlib.nullcontext() if is_known(name + word) else pytest.raises(UserError, match="unknown metric"):
        metric_names.require(name + word)


def is_known(name):
    """As the metrics themselves say."""
    try:
        base.find(name)
    except (UserError, AssertionError):
        return False
    return True


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


@pytest.mark.parametrize("num_clips", [30, 120])
@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_the_interval_covers_the_true_mean_about_95_times_in_100(shape, num_clips):
    """Over 400 made-up sets of clips; 0.95 give or take 3 standard errors, and a little less for few skewed values."""
    draw = np.random.default_rng(1)
    sets = draw.normal(3, 2, (400, num_clips)) if shape == "normal" else draw.gamma(2, 1.5, (400, num_clips))
    intervals = [base.bootstrap(values, num_resamples=400, seed=number) for number, values in enumerate(sets)]
    covered = np.mean([low <= 3 <= high for low, high in intervals])
    assert 0.90 <= covered <= 0.985


def test_another_seed_is_another_draw_of_the_same_interval():
    values = np.random.default_rng(0).normal(10, 2, 400)
    first, second = base.bootstrap(values), base.bootstrap(values, seed=1)
    assert first != second
    assert first == pytest.approx(second, abs=0.05)
