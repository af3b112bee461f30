"""LPIPS as a metric of the table: distance in the features of AlexNet, through the package `lpips`."""

import warnings
from pathlib import Path
from typing import Any

from results.metrics.base import ClipMeasure, ClipMetric
from results.pixels import Pixels, check_pair
from results.weights import find
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.weights import ALEXNET

FRAMES_PER_BATCH = 32


def _open() -> ClipMeasure:
    """Load AlexNet from the folder of weights and the linear layers from the package.

    Raises:
        MissingWeights: AlexNet's are not there.
    """
    import torch

    from vdt_hpc.dist import current_task, device_of

    device = device_of(current_task())
    network = _network(find(ALEXNET)).to(device)

    def measure(truth: Pixels, other: Pixels) -> float:
        check_pair(truth, other)
        total = 0.0
        for start in range(0, truth.num_frames, FRAMES_PER_BATCH):
            pair = [
                torch.from_numpy(clip.values[start : start + FRAMES_PER_BATCH].copy()).to(device).permute(0, 3, 1, 2)
                for clip in (truth, other)
            ]
            with torch.inference_mode():  # the package wants [-1, 1]
                distances = network(*(frames.float() / 127.5 - 1 for frames in pair))
            total += float(distances.double().sum())
        return total / truth.num_frames

    return measure


def _network(path: Path) -> Any:
    import lpips
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        tensors = load_file(path)
    else:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    with warnings.catch_warnings():  # lpips calls torchvision by names that it will drop one day
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        # pnet_rand: the package would otherwise fetch AlexNet from the network; each of its layers is set below.
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    try:
        for part in network.net.children():
            for index, layer in part.named_children():
                names = [name for name, _ in layer.named_parameters()]
                layer.load_state_dict({name: tensors[f"features.{index}.{name}"] for name in names})
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the weights of AlexNet ({error}); replace it") from error
    return network.eval()


METRIC = ClipMetric(
    name="lpips", label="LPIPS", unit="", direction="down", value_range="0 (identical) upwards", num_digits=3,
    how="AlexNet, version 0.1, at the frames' own size; mean over the generated frames alone, then over clips",
    citation="Zhang et al., arXiv 1801.03924", needs=ALEXNET, open=_open,
)  # fmt: skip
