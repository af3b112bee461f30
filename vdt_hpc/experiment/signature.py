"""Names for what a run configuration computes: hashes that see neither the partition nor where things lie."""

import hashlib
import json
from typing import Any

from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.section import Option, Section, Unsigned, flat

UNSIGNED_SECTIONS = ("sample", "evaluate", "autoencoder_training")


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
    return _digest({section: signed[section] for section in ("data", "streets", "autoencoder")})


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


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
