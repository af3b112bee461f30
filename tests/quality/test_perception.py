"""LPIPS by frame, through both networks, against its own package. Weights are random: no number is shown."""

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.quality.made_alexnet import alexnet
from tests.quality.made_vgg import vgg16
from tests.quality.pairs import pairs
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.weights import ALEXNET, VGG
from vdt_hpc.quality import perception
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.quality.weights import MissingWeights

CPU = torch.device("cpu")
NETS = {"alex": (ALEXNET, alexnet), "vgg": (VGG, vgg16)}
SHAPE = (3, 32, 36, 3)
PAIRS = pairs(SHAPE)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(tmp_path))
    return tmp_path


def clips(num_frames, size=40):
    generator = np.random.default_rng(0)
    return [Pixels(generator.integers(0, 256, (num_frames, size, size, 3), dtype=np.uint8)) for _ in range(2)]


def package(net, tensors):
    """The package's own network with some weights: (truth, other) -> distances."""
    import lpips

    reference = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    for part in reference.net.children():
        for index, layer in part.named_children():
            layer.load_state_dict({name: tensors[f"features.{index}.{name}"] for name, _ in layer.named_parameters()})

    def measure(truth, other):
        inputs = [torch.from_numpy(clip.values).permute(0, 3, 1, 2).float() / 255 for clip in (truth, other)]
        with torch.no_grad():
            return reference(*inputs, normalize=True).flatten().numpy()

    return measure


@pytest.fixture(scope="module", params=NETS)
def both_ways(request, tmp_path_factory):
    """(ours, the package's) of one network: the same weights, ours through the folder of weights."""
    needed, made = NETS[request.param]
    folder, tensors = tmp_path_factory.mktemp("weights"), made()
    torch.save(tensors, folder / needed.files[0])
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("VDT_HPC_WEIGHTS", str(folder))
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        yield perception.open_lpips(CPU, needed), package(request.param, tensors)


@pytest.mark.parametrize("name", PAIRS)
def test_both_networks_are_the_packages(both_ways, name):
    ours, theirs = both_ways
    clips = [Pixels(clip) for clip in PAIRS[name]]
    expected = theirs(*clips)
    assert (expected > 0).any()
    assert ours(*clips) == pytest.approx(expected, rel=1e-4, abs=1e-8)
    assert ours(clips[1], clips[0]) == pytest.approx(expected, rel=1e-4, abs=1e-8)
    assert not ours(clips[0], clips[0]).any()


def test_the_size_of_a_batch_does_not_matter(both_ways, monkeypatch):
    ours, _ = both_ways
    truth, other = clips(9)
    expected = ours(truth, other)
    for size in (1, 2, 7):
        monkeypatch.setattr(perception, "FRAMES_PER_BATCH", size)
        assert ours(Pixels(truth.values.copy()), other) == pytest.approx(expected, rel=1e-5)


def test_shapes_must_agree(both_ways):
    ours, _ = both_ways
    with pytest.raises(ValueError, match=r"\(3, 40, 40, 3\) and \(2, 40, 40, 3\) cannot be compared"):
        ours(clips(3)[0], clips(2)[0])


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_it_is_the_package_with_these_weights(weights, suffix):
    tensors, path = alexnet(), weights / f"alexnet-owt-7be5be79.{suffix}"
    torch.save(tensors, path) if suffix == "pth" else save_file(tensors, path)
    truth, other = clips(perception.FRAMES_PER_BATCH + 1)  # a whole batch, and the rest
    measure = perception.open_lpips(CPU)
    assert measure(truth, other) == pytest.approx(package("alex", tensors)(truth, other), rel=1e-5)
    assert not measure(truth, truth).any()


def test_the_smallest_frames_that_it_can_measure(weights):
    save_file(alexnet(), weights / "alexnet-owt-7be5be79.safetensors")
    measure = perception.open_lpips(CPU)
    assert measure(*clips(2, perception.LPIPS_MIN_PX)).shape == (2,)
    with pytest.raises(ValueError, match="frames of 30 x 30 px; expected at least 31 px a side"):
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
