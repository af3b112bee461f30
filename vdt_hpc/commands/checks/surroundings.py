"""What the looks at a stage's inputs need to know."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vdt_hpc.commands.checks.findings import Finding
from vdt_hpc.commands.run_state import RunState
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths


@dataclass(frozen=True)
class Surroundings:
    """What is to run, and where."""

    config: RunConfig
    paths: RunPaths
    state: RunState
    on_slurm: bool


Look = Callable[[Surroundings], Iterator[Finding]]
