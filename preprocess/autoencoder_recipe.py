"""Everything that decides the weights of a small autoencoder: it names a training, and tells two of them apart."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from preprocess.autoencoder_data import FRAME_STRIDE
from preprocess.street_scene import RENDERER
from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.data_config import AutoencoderTrainingConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.section import flat
from vdt_hpc.experiment.signature import recipe_differences

_WHOLE = ("seed", "renderer", "frame_stride", "training")
"""Compared value by value; `data` and `streets` are compared as those of latents are, `source_fingerprint` last."""


def recipe_of(config: RunConfig, settings: AutoencoderTrainingConfig, fingerprint: str | None) -> files.Json:
    """Everything that decides the weights, as JSON.

    Args:
        config: the run.
        settings: its section `autoencoder_training`.
        fingerprint: of the source's files; None: they are not here. Made-up frames follow from their settings, and
            have none.
    """
    made_up = config.streets is not None
    return {
        "seed": config.seed,
        "data": config.data.model_dump(mode="json", exclude={"root"}),
        "streets": config.streets.model_dump(mode="json") if config.streets else None,
        "renderer": RENDERER if made_up else None,
        "source_fingerprint": None if made_up else fingerprint,
        "frame_stride": FRAME_STRIDE,
        "training": settings.model_dump(mode="json", exclude={"output", "save_every_steps"}),
    }


def refuse_another(output: Path, there: files.Json, here: files.Json, config: RunConfig) -> None:
    """Make sure that an autoencoder was trained by a run's recipe; frames that are no longer here are no fault.

    Args:
        output: where it lies.
        there: its recipe.
        here: the run's.
        config: the run.

    Raises:
        UserError: it was not; what differs is named.
    """
    if "data" not in there:
        raise UserError(
            f"{output} holds an autoencoder of an earlier version, whose record does not say how its frames were "
            "prepared; choose another autoencoder_training.output or remove it"
        )
    phrases = recipe_differences(there, config)
    values, wanted = (flat({name: recipe.get(name) for name in _WHOLE}) for recipe in (there, here))
    for name in {**values, **wanted}:
        if values.get(name) != wanted.get(name):
            phrases.append(
                "{} is {} there, {} here".format(name, *(json.dumps(each.get(name)) for each in (values, wanted)))
            )
    if here["source_fingerprint"] not in (None, there.get("source_fingerprint")):
        phrases.append("its frames are other files")
    if phrases:
        raise UserError(
            f"{output} holds an autoencoder of another recipe: {', '.join(phrases)}; "
            "choose another autoencoder_training.output or remove it"
        )


def state_path(paths: RunPaths, recipe: files.Json) -> Path:
    """Where an unfinished training is kept; its name tells the recipe, so that recipes never mix."""
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    return paths.run / f"autoencoder-{digest}.safetensors"
