"""The autoencoder between pixels and latents: any diffusers AutoencoderKL, from a folder or from the hub.

Pixels are uint8 outside and [-1, 1] inside; ``to_signed`` and ``to_bytes`` are the only place where one becomes the
other. Latents are unscaled here: the scaling factor is part of the autoencoder's identity, and its user applies it.
Importing this module imports neither torch nor diffusers; loading an autoencoder does.

Legend: N frames, H x W pixels, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.data_config import AutoencoderConfig
from vdt_hpc.experiment.sample_config import DecodePrecision
from vdt_hpc.experiment.weights import (
    AUTOENCODER_FILES,
    AUTOENCODER_WEIGHTS,
    autoencoder_folder,
    autoencoder_folders,
    incomplete,
    is_hub_name,
    is_in_job,
    is_offline,
    nowhere,
)

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Autoencoder:
    """A loaded autoencoder, in evaluation mode."""

    model: AutoencoderKL
    source: str
    """Folder or hub name, as the run configuration gives it."""
    sha256: str
    """SHA-256 of the file of weights."""
    scaling_factor: float
    """Factor that brings latents to about unit standard deviation."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def identity(self) -> dict[str, str | float]:
        """What the latents' manifest states about the autoencoder."""
        return {"source": self.source, "sha256": self.sha256, "scaling_factor": self.scaling_factor}


def to_signed(frames: ByteArray) -> torch.Tensor:
    """Frames (N, H, W, 3) uint8 to images (N, 3, H, W) float32 in [-1, 1].

    Raises:
        ValueError: another dtype or shape.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be (N, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
    import torch

    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


def to_bytes(images: torch.Tensor) -> ByteArray:
    """Images (N, 3, H, W) around [-1, 1] to frames (N, H, W, 3) uint8: clamped, then rounded.

    Raises:
        ValueError: another shape, or values that are not numbers.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (N, 3, H, W), not {tuple(images.shape)}")
    if not images.isfinite().all():
        raise ValueError("the autoencoder's output holds values that are not finite")
    levels = ((images.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().byte()
    frames: ByteArray = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return frames


def load(
    config: AutoencoderConfig, device: torch.device, fetch: bool = True, precision: DecodePrecision = "fp32"
) -> Autoencoder:
    """Load the autoencoder that a run names.

    Looks for a folder under the checkout, then under the folder of weights, then for a model of that name on the hub
    (its local cache first). No pickle is loaded.

    Args:
        config: which one.
        device: where the weights go.
        fetch: False: the network is not asked; it never is in a job of Slurm.
        precision: arithmetic, and type of the weights.

    Raises:
        UserError: it is nowhere, cannot be fetched, or has another geometry than the configuration says.
    """
    import torch
    from diffusers import AutoencoderKL
    from safetensors import SafetensorError

    from vdt_hpc.model.upsampling import fold_doublings

    folder = _whole_folder(config, fetch)
    try:
        model: AutoencoderKL = AutoencoderKL.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, torch_dtype=torch.float32, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise UserError(f"the autoencoder {folder} cannot be loaded ({_line(error)}); replace it") from error
    _check_geometry(model, config)
    fold_doublings(model)
    # Channels last: the small autoencoder encodes 1.7 times as fast on a CPU core.
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    # Module's own `to`: that of diffusers warns of layers to be kept in fp32, of which there are none here.
    torch.nn.Module.to(model, device, dtype)
    torch.nn.Module.to(model, memory_format=torch.channels_last)
    model = model.eval().requires_grad_(False)
    sha256 = files.sha256(folder / AUTOENCODER_WEIGHTS)
    return Autoencoder(model, config.source, sha256, float(model.config["scaling_factor"]))


def weights_sha256(config: AutoencoderConfig) -> str:
    """SHA-256 of the weights that `load` would take from this machine, without loading them; no network is asked.

    Raises:
        UserError: they are not on this machine.
    """
    return files.sha256(_whole_folder(config, fetch=False) / AUTOENCODER_WEIGHTS)


def _whole_folder(config: AutoencoderConfig, fetch: bool) -> Path:
    """The folder that `autoencoder.source` means, after a look at its files' names."""
    folder = autoencoder_folder(config) or _fetch(config.source, fetch)
    missing = [name for name in AUTOENCODER_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(incomplete(folder, config.source, missing))
    return folder


def _fetch(source: str, fetch: bool = True) -> Path:
    """The folder of the hub's local cache that holds a model, fetched unless that is not wanted or not possible."""
    from huggingface_hub import snapshot_download

    if not is_hub_name(source):
        looked = " or ".join(str(folder) for folder in autoencoder_folders(source))
        raise UserError(f"no autoencoder {source}: there is no folder {looked}; set autoencoder.source")
    offline = is_offline()
    local = offline or is_in_job() or not fetch
    try:
        return Path(snapshot_download(source, allow_patterns=[*AUTOENCODER_FILES], local_files_only=local))
    except Exception as error:  # the hub's client has many families of errors; each becomes this one line
        if offline:
            why = "this machine is set offline and asks no network"
        elif is_in_job():
            why = "jobs fetch nothing"
        elif not fetch:
            why = "nothing is fetched here"
        else:
            why = f"it could not be fetched from the hub ({_line(error)})"
        raise UserError(f"no autoencoder {source}: {nowhere(source, why)}") from error


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"


def _check_geometry(model: AutoencoderKL, config: AutoencoderConfig) -> None:
    channels = int(model.config["latent_channels"])
    downsampling = 2 ** (len(model.config["block_out_channels"]) - 1)
    for name, found, said in (
        ("latent_channels", channels, config.latent_channels),
        ("downsampling", downsampling, config.downsampling),
    ):
        if found != said:
            raise UserError(f"the autoencoder {config.source} has {name} {found}; set autoencoder.{name}, now {said}")


def encode(autoencoder: Autoencoder, frames: ByteArray, frames_per_batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the posterior, each (N, C, h, w) float32 on the CPU, not scaled.

    Args:
        autoencoder: a loaded one.
        frames: (N, H, W, 3) uint8, H and W multiples of the downsampling.
        frames_per_batch: frames that pass the network at once; bounds the memory.
    """
    import torch

    means, deviations = [], []
    with torch.inference_mode():
        for start in range(0, len(frames), frames_per_batch):
            images = to_signed(frames[start : start + frames_per_batch]).to(autoencoder.device, autoencoder.model.dtype)
            posterior = autoencoder.model.encode(images).latent_dist
            means.append(posterior.mean.float().cpu())
            deviations.append(posterior.std.float().cpu())
    return torch.cat(means), torch.cat(deviations)


def decode(autoencoder: Autoencoder, latents: torch.Tensor, frames_per_batch: int) -> ByteArray:
    """Frames (N, H, W, 3) uint8 from unscaled latents (N, C, h, w), ``frames_per_batch`` at once."""
    import torch

    if latents.ndim != 4:
        raise ValueError(f"latents must be (N, C, h, w), not {tuple(latents.shape)}")
    frames = []
    with torch.inference_mode():
        for start in range(0, len(latents), frames_per_batch):
            batch = latents[start : start + frames_per_batch].to(autoencoder.device, autoencoder.model.dtype)
            frames.append(to_bytes(autoencoder.model.decode(batch).sample))
    return np.concatenate(frames)
