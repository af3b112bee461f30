"""Which pretrained weights the stages need, and where they lie on this machine; nothing is loaded or fetched here."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.data_config import AutoencoderConfig
from vdt_hpc.experiment.paths import checkout, exists, user_path, weights_dir

DIFFUSERS_CONFIG = "config.json"
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
"""What a folder of one model in the diffusers layout holds."""
AUTOENCODER_CONFIG, AUTOENCODER_WEIGHTS = DIFFUSERS_CONFIG, DIFFUSERS_WEIGHTS
AUTOENCODER_FILES = (AUTOENCODER_CONFIG, AUTOENCODER_WEIGHTS)
"""What a folder of a diffusers AutoencoderKL must hold."""
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
"""Of files of weights: safetensors, and what torch.save has written."""
REMEDY = "python -m vdt_hpc.weights"
"""The command that fetches weights, on a machine with internet."""
_HUB_NAME = re.compile(r"(?!.*(--|\.\.|\.git$))\b[\w.-]{1,96}\b/\b[\w.-]{1,96}\b", re.ASCII)
"""OWNER/MODEL as the hub's own client takes it."""
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class MetricWeights:
    """Weights that a metric needs."""

    whose: str
    name: str
    """How `python -m vdt_hpc.weights` calls them."""
    files: tuple[str, ...]
    """File names in the folder of weights, any of which will do."""

    def find(self) -> Path | None:
        """The file on this machine, or None."""
        return next((weights_dir() / name for name in self.files if (weights_dir() / name).is_file()), None)


ALEXNET = MetricWeights("AlexNet", "alexnet", ("alexnet-owt-7be5be79.pth", "alexnet-owt-7be5be79.safetensors"))
VGG = MetricWeights("VGG16", "vgg16", ("vgg16-397923af.pth", "vgg16-397923af.safetensors"))
I3D = MetricWeights("I3D", "i3d", ("i3d_torchscript.pt",))
METRIC_WEIGHTS = (ALEXNET, VGG, I3D)
OF_METRICS = {"lpips": ALEXNET, "lpips-vgg": VGG, "fvd": I3D, "fvd-16-14": I3D, "fvd-lab": I3D}
"""Metric -> the weights that it needs; the others need none."""


def autoencoder_folders(source: str) -> list[Path]:
    """Where a folder that `autoencoder.source` names would lie."""
    return [checkout() / source, weights_dir() / source]


def autoencoder_folder(config: AutoencoderConfig) -> Path | None:
    """The folder on this machine that `autoencoder.source` means; None: it can only be a name on the hub."""
    return next((folder for folder in autoencoder_folders(config.source) if folder.is_dir()), None)


def initial_file(source: str) -> Path:
    """The file of weights on this machine that `init.from` means.

    Args:
        source: a file, or a folder in the diffusers layout; relative to the checkout or to the folder of weights.

    Raises:
        UserError: it is nowhere, a folder without weights, or a file of another kind.
    """
    places = list(dict.fromkeys(user_path(source, above) for above in (checkout(), weights_dir())))  # one, if absolute
    found = next((place for place in places if exists(place)), None)
    if found is None:
        raise UserError(f"no weights {source}: there is no {' and no '.join(map(str, places))}; set init.from")
    if found.is_dir():
        if not (found / DIFFUSERS_WEIGHTS).is_file():
            raise UserError(
                f"the folder {found} has no {DIFFUSERS_WEIGHTS}; set init.from to a file in it, or to a folder that "
                "python -m vdt_hpc.export has written"
            )
        return found / DIFFUSERS_WEIGHTS
    if found.suffix not in WEIGHTS_SUFFIXES:
        raise UserError(f"{found} is no file of weights: init.from takes {', '.join(WEIGHTS_SUFFIXES)} or a folder")
    return found


def is_hub_name(source: str) -> bool:
    """True if a model on the hub may have that name."""
    return _HUB_NAME.fullmatch(source) is not None


def is_offline() -> bool:
    """True if the user has told the hub's client to ask no network."""
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in _OFFLINE)


def is_in_job() -> bool:
    """True in a job of Slurm, where nothing is fetched: compute nodes have no internet, or many ask for the same."""
    return bool(os.environ.get("SLURM_JOB_ID"))


def nowhere(source: str, why: str) -> str:
    """What to say of a model on the hub that is not on this machine and is not fetched, and what to do.

    Args:
        source: its name on the hub.
        why: a sentence that says why it is not fetched.
    """
    folders = autoencoder_folders(source)
    return (
        f"there is no folder {' or '.join(map(str, folders))}, the hub's local cache has none, and {why}; run {REMEDY} "
        f"{source} on a machine with internet, or put {' and '.join(AUTOENCODER_FILES)} into {folders[-1]}"
    )


def incomplete(folder: Path, source: str, missing: Sequence[str]) -> str:
    """What to say of an autoencoder's folder that lacks files, and what to do."""
    on_hub = is_hub_name(source) and folder == weights_dir() / source
    fetched = f"run {REMEDY} {source} on a machine with internet, " if on_hub else ""
    return (
        f"the autoencoder {folder} has no {' and no '.join(missing)}; {fetched}put a diffusers AutoencoderKL "
        "(safetensors) there, or train one with the stage autoencoder"
    )


def is_cached(source: str) -> bool:
    """True if the hub's local cache holds the files of a model."""
    from huggingface_hub import try_to_load_from_cache

    return all(isinstance(try_to_load_from_cache(source, name), str) for name in AUTOENCODER_FILES)
