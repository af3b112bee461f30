"""LPIPS by frame against its own package."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.quality.made_alexnet import alexnet
from vdt_hpc.errors import UserError
from vdt_hpc.quality import perception
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.quality.weights import MissingWeights

CPU = torch.device("cpu")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(tmp_path))
    return tmp_path


def clips(num_frames, size=40):
    generator = np.random.default_rng(0)
    return [Pixels(generator.integers(0, 256, (num_frames, size, size, 3), dtype=np.uint8)) for _ in range(2)]


def by_the_package(tensors, truth, other):
    import lpips

    reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for part in reference.net.children():
        for index, layer in part.named_children():
            layer.load_state_dict({name: tensors[f"features.{index}.{name}"] for name, _ in layer.named_parameters()})
    inputs = [torch.from_numpy(clip.values).permute(0, 3, 1, 2).float() / 255 for clip in (truth, other)]
    with torch.no_grad():
        return reference(*inputs, normalize=True).flatten().numpy()


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_it_is_the_package_with_these_weights(weights, suffix):
    tensors, path = alexnet(), weights / f"alexnet-owt-7be5be79.{suffix}"
    torch.save(tensors, path) if suffix == "pth" else save_file(tensors, path)
    truth, other = clips(perception.FRAMES_PER_BATCH + 1)  # a whole batch, and the rest
    measure = perception.open_lpips(CPU)
    assert measure(truth, other) == pytest.approx(by_the_package(tensors, truth, other), rel=1e-5)
    assert not measure(truth, truth).any()


def test_the_smallest_frames_that_it_can_measure(weights):
    save_file(alexnet(), weights / "alexnet-owt-7be5be79.safetensors")
    measure = perception.open_lpips(CPU)
    assert measure(*clips(2, perception.LPIPS_MIN_PX)).shape == (2,)
    with pytest.raises(RuntimeError, match="too small"):
        measure(*clips(2, perception.LPIPS_MIN_PX - 1))


def test_frames_in_batches_are_bounded(weights, monkeypatch):
    save_file(alexnet(), weights / "alexnet-owt-7be5be79.safetensors")
    sizes = []
    measure = perception.open_lpips(CPU)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: sizes.append(len(inputs[0])) if isinstance(module, torch.nn.Conv2d) else None
    )
    measure(*clips(2 * perception.FRAMES_PER_BATCH + 5, perception.LPIPS_MIN_PX))
    hook.remove()
    assert max(sizes) == perception.FRAMES_PER_BATCH


def test_a_truth_is_looked_at_once_whatever_is_set_beside_it(weights, monkeypatch):
    save_file(alexnet(), weights / "alexnet-owt-7be5be79.safetensors")
    seen = []
    forward = torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, x: (seen.append(x.shape), forward(self, x))[1])
    truth, other = clips(3)
    measure = perception.open_lpips(CPU)
    first = measure(truth, other)
    num_layers = len(seen)
    assert np.array_equal(measure(truth, other), first)
    of_others = len(seen) - num_layers
    assert of_others < num_layers
    assert np.array_equal(measure(Pixels(truth.values.copy()), other), first)
    assert len(seen) == 2 * num_layers + of_others
    assert np.array_equal(measure(other, truth), first)


def test_missing_and_foreign_weights(weights):
    with pytest.raises(MissingWeights, match="weights not found"):
        perception.open_lpips(CPU)
    save_file({"features.0.weight": torch.zeros(1)}, weights / "alexnet-owt-7be5be79.safetensors")
    with pytest.raises(UserError, match="replace it"):
        perception.open_lpips(CPU)
