"""Averaged weights for others: a folder in the diffusers layout, which `vdt_hpc.model.exported.VdtModel` reads.

    exports/clips-000128000/  diffusion_pytorch_model.safetensors  config.json  scheduler/  README.md

Writing one needs torch, but neither diffusers nor the model's code: the names of the tensors are the checkpoint's.
"""

from pathlib import Path
from typing import Any

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import architecture
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.weights import DIFFUSERS_CONFIG, DIFFUSERS_WEIGHTS
from vdt_hpc.store import checkpoint, model_card
from vdt_hpc.store.checkpoint import Checkpoint, Damaged
from vdt_hpc.store.checkpoint_writing import write_tensors
from vdt_hpc.store.manifest import Manifest, require_manifest

CLASS_NAME = "VdtModel"
SCHEDULER = "scheduler"
_SCHEDULER_CONFIG = "scheduler_config.json"


def find(config: RunConfig, paths: RunPaths, name: str | None = None) -> Checkpoint:
    """The checkpoint to export, every byte compared with its hash.

    Args:
        config, paths: of the run.
        name: of the checkpoint's folder; None: the newest valid one.

    Raises:
        UserError: there is none, it is damaged, or it belongs to another run configuration.
    """
    if name is None:
        found = checkpoint.newest(paths.checkpoints, signature(config))
        if found is None:
            raise UserError(f"no valid checkpoint in {paths.checkpoints}; run the stage train first")
        return found
    known = [path.name for path in checkpoint.folders(paths.checkpoints)]
    if name not in known:
        raise UserError(f"no checkpoint {name!r} in {paths.checkpoints}; there are: {', '.join(known) or 'none'}")
    try:
        found = checkpoint.read(paths.checkpoints / name)
        found.verify()
    except Damaged as damage:
        raise UserError(f"the checkpoint {name} is damaged: {damage}; export another one") from None
    if found.provenance.signature != signature(config):
        raise UserError(f"the checkpoint {name} belongs to another run (signature {found.provenance.signature})")
    return found


def write(folder: Path, source: Checkpoint, config: RunConfig, paths: RunPaths) -> None:
    """Export the averaged weights of a checkpoint; an earlier export of that name is replaced, whole by whole.

    Args:
        folder: the export's.
        source: a verified checkpoint.
        config, paths: of the run; its latents' manifest has the scaling factor.

    Raises:
        UserError: the folder holds something else, the manifest is not that of the training, or no space.
    """
    require_free(folder)
    manifest = require_manifest(config, paths)
    trained_on = source.provenance.latents_fingerprint
    if manifest.fingerprint != trained_on:
        raise UserError(
            f"{source.name} was trained on latents {trained_on}, those of {paths.latents} are {manifest.fingerprint}; "
            "copy the manifest of the right ones there: their scaling factor belongs into the export"
        )
    with files.readable(source.path):  # a training that goes on may remove an old checkpoint
        tensors = source.load("ema")
    described = {"_class_name": CLASS_NAME, **arguments(config, manifest)}
    with files.finish_folder(folder, replace=True) as staged:
        write_tensors(staged / DIFFUSERS_WEIGHTS, tensors, {"format": "pt"})
        files.write_json(staged / DIFFUSERS_CONFIG, described)
        files.write_json(staged / SCHEDULER / _SCHEDULER_CONFIG, scheduler(config.diffusion))
        files.write_text(staged / "README.md", model_card.text(config, source.provenance, manifest))


def require_free(folder: Path) -> None:
    """Refuse a name that something else has, or that a file is above; an empty folder and an earlier export are fine.

    Raises:
        UserError: it has, or there is.
    """
    with files.readable(folder):
        there = next((each for each in folder.parents if each.exists()), folder)
        if not there.is_dir():
            raise UserError(f"{folder} cannot be made: {there} is a file, no folder; choose another --to")
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())) or _is_export(folder):
            return
    raise UserError(f"{folder} is there and is no export of a model; nothing is overwritten, choose another --to")


def arguments(config: RunConfig, manifest: Manifest) -> dict[str, Any]:
    """What `config.json` says: the model's arguments, and what sampling from it must know."""
    diffusion = config.diffusion
    return {
        **architecture.arguments(config),
        "prediction": diffusion.prediction,
        "variance": "learned" if diffusion.learns_variance else "fixed",
        "num_train_steps": diffusion.num_train_steps,
        "beta_start": diffusion.beta_start,
        "beta_end": diffusion.beta_end,
        "scaling_factor": manifest.scaling_factor,
    }


def scheduler(diffusion: DiffusionConfig) -> dict[str, Any]:
    """Configuration of the diffusers scheduler that reverses a process; latents have no bounds to be clipped to."""
    if diffusion.prediction == "flow":
        return {
            "_class_name": model_card.FLOW_SCHEDULER, "num_train_timesteps": diffusion.num_train_steps, "shift": 1.0,
        }  # fmt: skip
    return {"_class_name": model_card.DIFFUSION_SCHEDULER, **architecture.ddpm_arguments(diffusion)}


def _is_export(folder: Path) -> bool:
    described = folder / DIFFUSERS_CONFIG
    try:
        return described.is_file() and files.read_json(described).get("_class_name") == CLASS_NAME
    except UserError:  # something else's config.json
        return False
