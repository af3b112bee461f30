"""Names for what a run configuration computes: hashes that see neither the partition nor where things lie."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.section import Option, Section, Unsigned, flat

UNSIGNED_SECTIONS = ("sample", "evaluate", "autoencoder_training")
LATENTS_SECTIONS = ("data", "streets", "autoencoder")
"""What decides the latents."""


def signature(config: RunConfig) -> str:
    """Hash of everything that decides which weights the run trains (12 hex digits); the partition is not in it."""
    return _digest(_signed(config, UNSIGNED_SECTIONS))


def differing_fields(one: RunConfig, other: RunConfig) -> list[str]:
    """Dotted names of the fields that make the signatures of two runs differ."""
    first, second = (flat(_signed(config, UNSIGNED_SECTIONS)) for config in (one, other))
    return [name for name in {**first, **second} if first.get(name) != second.get(name)]


def latents_signature(config: RunConfig) -> str:
    """Hash of everything that decides the latents (12 hex digits): source recipe, geometry, autoencoder."""
    signed = _signed(config, ())
    return _digest({section: signed[section] for section in LATENTS_SECTIONS})


def latents_recipe(config: RunConfig) -> dict[str, Any]:
    """The sections that decide the latents, whole, as JSON; a section that the run does not have is None."""
    content = config.model_dump(mode="json")
    return {section: content[section] for section in LATENTS_SECTIONS}


def recipe_differences(recipe: Mapping[str, Any], config: RunConfig) -> list[str]:
    """What makes the signatures of some latents and of a run differ: a phrase for each field, with both values.

    Args:
        recipe: of the latents, as `latents_recipe` gave it; sections that it does not state are not compared.
        config: the run.
    """
    phrases = []
    for section, here in latents_recipe(config).items():
        there = recipe.get(section, here)
        if isinstance(there, dict) and isinstance(here, dict):
            pairs = _both(there, here, getattr(config, section))
            phrases += [_phrase(f"{section}.{name}", *pair) for name, pair in pairs.items() if pair[0] != pair[1]]
        elif there != here:  # one of them has no such section
            phrases.append(_phrase(section, *("set" if side else None for side in (there, here))))
    return phrases


def frames_signature(config: RunConfig) -> str:
    """Hash of everything that decides the made-up clips (12 hex digits)."""
    signed = _signed(config, ())
    return _digest([signed["streets"], config.data.frames_per_clip])


def _signed(section: Section, left_out: tuple[str, ...]) -> dict[str, Any]:
    signed: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        if name in left_out or any(isinstance(mark, Unsigned) for mark in field.metadata):
            continue
        value = getattr(section, name)
        if value == field.default and any(isinstance(mark, Option) for mark in field.metadata):
            continue
        signed[field.alias or name] = _signed(value, ()) if isinstance(value, Section) else value
    return signed


def _both(there: Mapping[str, Any], here: Mapping[str, Any], section: Section) -> dict[str, tuple[Any, Any]]:
    """Field -> its values in latents and in a run; where it came later than the latents, they have its default."""
    values = {}
    for name in {**here, **there}:
        field = type(section).model_fields.get(name)
        marks = field.metadata if field else []
        if any(isinstance(mark, Unsigned) for mark in marks):
            continue
        usual = field.default if field and any(isinstance(mark, Option) for mark in marks) else None
        values[name] = (there.get(name, usual), here.get(name))
    return values


def _phrase(name: str, there: object, here: object) -> str:
    shown = ("null" if value is None else value for value in (there, here))
    return "{} is {} there, {} here".format(name, *shown)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
