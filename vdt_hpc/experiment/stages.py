"""THE stage table: which verb turns which noun into the next, and where its code is."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import checkout

ARRAY = "VDT_HPC_ARRAY"
"""Environment variable that tells a stage which task of a job array it runs in, and of how many: `0/3`."""

COMPARED = "VDT_HPC_COMPARED"
"""Environment variable that tells the stage `compare` which runs it puts side by side: their folders, as a JSON list.
Without it, all under the root."""


@dataclass(frozen=True)
class StageResult:
    """What a stage did."""

    summary: str
    """One line for people."""
    complete: bool = True
    """False: the stage stopped cleanly before its end (a signal, a time limit); running it again goes on."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Label -> path of what a person may want to open."""


@dataclass(frozen=True)
class Stage:
    """One row of the table."""

    name: str
    module: str
    reads: str
    writes: str
    as_array: bool = False
    """Whether the tasks of a job array may share its work."""


STAGES: tuple[Stage, ...] = (
    Stage("streets", "preprocess.streets", "nothing", "frames (made-up street clips, in the Cityscapes layout)"),
    Stage("autoencoder", "preprocess.autoencoder", "frames", "weights of a small autoencoder"),
    Stage("index", "preprocess.index", "frames", "the index of clips and faults, and the report on it"),
    Stage("encode", "preprocess.encode", "frames", "latents", as_array=True),
    Stage("verify", "preprocess.verify", "frames, latents", "nothing"),
    Stage("train", "jobs.train", "latents", "checkpoints"),
    Stage("sample", "jobs.sample", "checkpoints, latents", "samples", as_array=True),
    Stage("evaluate", "results.evaluate", "samples, latents", "records", as_array=True),
    Stage("report", "results.report", "records", "tables, figures, a page"),
    Stage("compare", "results.compare", "records of all runs", "tables and a page, side by side"),
)


def find(name: str) -> Stage:
    """The stage of that name.

    Raises:
        UserError: there is none.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise UserError(f"unknown stage {name!r}; the stages are {', '.join(stage.name for stage in STAGES)}")


def load(name: str) -> Callable[[RunConfig, Partition], StageResult]:
    """Import a stage and return its `run`.

    The module comes from the checkout or snapshot that `vdt_hpc` itself came from. Call this where the stage runs:
    its imports (torch, h5py) do not belong on a login node.
    """
    module = _import_from_checkout(find(name).module)
    run: Any = module.run
    return run


def _import_from_checkout(name: str) -> ModuleType:
    home = str(checkout())
    if home not in sys.path:
        sys.path.insert(0, home)
    module = importlib.import_module(name)
    origin = module.__file__ or ""
    if not origin.startswith(home):
        raise UserError(f"the stage module {name} was found at {origin}, outside {home}; rename what hides it")
    return module
