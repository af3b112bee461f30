"""FVD's features: logits of I3D (Kinetics-400) for a clip.

Legend: T frames, D features of a clip.
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np

from results.frechet import FloatArray
from results.metrics.base import Extractor
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.weights import I3D
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.quality.weights import find

if TYPE_CHECKING:
    import torch

MIN_FRAMES = 10  # the network halves time three times and then pools over two
INPUT_PX = 224


def in_chunks(extract: Extractor, num_frames: int) -> Extractor:
    """An extractor of the features of the first frames of a clip and of those behind them: (2, D)."""

    def both(clip: Pixels) -> FloatArray:
        parts = (range(num_frames), range(num_frames, clip.num_frames))
        return np.stack([extract(clip.frames(part)) for part in parts])

    return both


def load_network(device: "torch.device") -> "torch.jit.ScriptModule":
    """The network itself, (B, 3, T, 224, 224) -> logits (B, D); see `open_i3d` for how it is called.

    Raises:
        MissingWeights: the file is not there.
        UserError: it cannot be read.
    """
    import torch

    path = find(I3D)
    try:
        with warnings.catch_warnings():  # torch would rather have another format; I3D is distributed in this one
            warnings.simplefilter("ignore", FutureWarning)
            network: torch.jit.ScriptModule = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise UserError(f"{path} is no TorchScript file ({str(error).splitlines()[0]}); replace it") from error
    return network


def open_i3d(lowest: float = -1.0) -> Extractor:
    """Load the TorchScript port of TF-Hub's i3d-kinetics-400 (as StyleGAN-V distributes it) and call it by its way.

    A clip becomes (1, 3, T, 224, 224) in [-1, 1] (or [lowest, 1], to repeat a mistake), resized bilinearly without
    aligned corners; its features are the logits, averaged over time by the network.

    Raises:
        MissingWeights: the file is not there.
        UserError: it cannot be read.
    """
    import torch

    from vdt_hpc.dist import current_task, device_of

    device = device_of(current_task())
    network = load_network(device)

    def extract(clip: Pixels) -> FloatArray:
        frames = torch.from_numpy(clip.values.copy()).to(device).permute(0, 3, 1, 2).float()
        frames = frames * ((1 - lowest) / 255) + lowest
        frames = torch.nn.functional.interpolate(frames, size=(INPUT_PX, INPUT_PX), mode="bilinear")
        with torch.inference_mode():
            video = frames.permute(1, 0, 2, 3)[None].contiguous()
            features = network(video, rescale=False, resize=False, return_features=True)
        if features.ndim != 2 or len(features) != 1:
            raise ValueError(f"I3D gave features of shape {tuple(features.shape)}; expected (1, D)")
        result: FloatArray = features[0].double().cpu().numpy()
        return result

    return extract
