"""LPIPS: distance of frames in the features of AlexNet or VGG, through the package `lpips`; nothing is fetched.

Legend: T frames, H x W pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.weights import ALEXNET, VGG, MetricWeights
from vdt_hpc.quality.pixels import Pixels, check_pair, check_size
from vdt_hpc.quality.weights import find

if TYPE_CHECKING:
    import torch

FRAMES_PER_BATCH = 32
LPIPS_MIN_PX = 31
"""Smallest side that leaves AlexNet's last layers a cell."""

_NETS = {ALEXNET: "alex", VGG: "vgg"}
"""The package's names."""

FloatArray = npt.NDArray[np.float64]
LpipsByFrame = Callable[[Pixels, Pixels], FloatArray]
"""(truth, other), both (T, H, W, 3) of one shape, H and W at least LPIPS_MIN_PX -> distances (T,), 0 (identical) and
upwards. FRAMES_PER_BATCH frames of each are on the device at once."""


def open_lpips(device: torch.device, weights: MetricWeights = ALEXNET) -> LpipsByFrame:
    """Load a network from the folder of weights and the linear layers from the package: Zhang et al., arXiv 1801.03924.

    Args:
        device: where the network goes.
        weights: ALEXNET or VGG.

    Raises:
        MissingWeights: they are not there.
        UserError: the file holds another network's.
    """
    import lpips
    import torch

    network = _network(find(weights), weights).to(device)

    def signed(clip: Pixels, start: int) -> torch.Tensor:  # the package wants [-1, 1]
        batch = torch.from_numpy(clip.values[start : start + FRAMES_PER_BATCH].copy())
        return batch.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1

    def features(clip: Pixels) -> list[list[torch.Tensor]]:
        """Normalised features by batch and layer."""
        starts = range(0, clip.num_frames, FRAMES_PER_BATCH)
        return [
            [lpips.normalize_tensor(layer) for layer in network.net(network.scaling_layer(signed(clip, start)))]
            for start in starts
        ]

    kept: dict[str, Any] = {}

    def of_truth(truth: Pixels) -> list[list[torch.Tensor]]:
        """The last truth's are kept: model, reconstruction and every trajectory are set beside the same."""
        if kept.get("truth") is not truth:
            kept.update(truth=truth, features=features(truth))
        return cast("list[list[torch.Tensor]]", kept["features"])

    def measure(truth: Pixels, other: Pixels) -> FloatArray:
        check_pair(truth, other)
        check_size(truth, LPIPS_MIN_PX)
        distances = []
        with torch.inference_mode():
            for true, found in zip(of_truth(truth), features(other), strict=True):
                layers = zip(network.lins, true, found, strict=True)
                distance = sum(lin((one - two) ** 2).mean(dim=(2, 3)) for lin, one, two in layers)
                distances.append(distance.flatten().double().cpu().numpy())
        return np.concatenate(distances)

    return measure


def _network(path: Path, weights: MetricWeights) -> Any:
    import lpips
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        tensors = load_file(path)
    else:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    with warnings.catch_warnings():  # lpips calls torchvision by names that it will drop one day
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        # pnet_rand: the package would otherwise fetch it from the network; each of its layers is set below.
        network = lpips.LPIPS(net=_NETS[weights], pnet_rand=True, verbose=False)
    try:
        for part in network.net.children():
            for index, layer in part.named_children():
                names = [name for name, _ in layer.named_parameters()]
                layer.load_state_dict({name: tensors[f"features.{index}.{name}"] for name in names})
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the weights of {weights.whose} ({error}); replace it") from error
    return network.eval()
