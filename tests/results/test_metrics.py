"""Metrics as objects: what they state, what they lack, and LPIPS against its own package."""

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from results.metrics import base
from results.pixels import Pixels
from results.weights import MissingWeights
from vdt_hpc.errors import UserError

NAMES = ("fvd", "ssim", "psnr", "lpips")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(folder))
    return folder


@pytest.fixture(scope="module")
def alexnet():
    """AlexNet's convolutions with random weights, under torchvision's names."""
    torch.manual_seed(0)
    network = torchvision.models.alexnet(weights=None).features
    return {f"features.{name}": tensor.clone() for name, tensor in network.state_dict().items()}


def clips(num_frames=33, size=40):
    generator = np.random.default_rng(0)
    return [Pixels(generator.integers(0, 256, (num_frames, size, size, 3), dtype=np.uint8)) for _ in range(2)]


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


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_lpips_is_the_package_with_these_weights(weights, alexnet, suffix):
    import lpips

    path = weights / f"alexnet-owt-7be5be79.{suffix}"
    torch.save(alexnet, path) if suffix == "pth" else save_file(alexnet, path)
    truth, other = clips()
    measured = base.find("lpips").open()(truth, other)
    reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for part in reference.net.children():
        for index, layer in part.named_children():
            own = {name: alexnet[f"features.{index}.{name}"] for name, _ in layer.named_parameters()}
            layer.load_state_dict(own)
    tensors = [torch.from_numpy(clip.values).permute(0, 3, 1, 2).float() / 255 for clip in (truth, other)]
    with torch.no_grad():
        expected = reference(*tensors, normalize=True).mean().item()
    assert measured == pytest.approx(expected, rel=1e-5)
    assert base.find("lpips").open()(truth, truth) == 0


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
