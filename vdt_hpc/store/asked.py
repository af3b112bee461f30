"""What a job's tasks asked Slurm for, read from its submission file, where the lineage counts tasks alone."""

import re
from dataclasses import dataclass

from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.store.ledger import Leg

_GPUS = re.compile(r"^#SBATCH --(?:gpus-per-node=|gres=gpu)", re.MULTILINE)
_CPUS = re.compile(r"^#SBATCH --cpus-per-task=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Asked:
    """What each task of a job has for itself."""

    has_gpus: bool
    """One task runs per GPU."""
    cpus_per_task: int | None
    """None: nobody said."""


NOTHING = Asked(has_gpus=False, cpus_per_task=None)
"""Of a job that no file tells of: one that ran without Slurm."""


def asked(paths: RunPaths, leg: Leg) -> Asked:
    """What a job that trained a run asked for."""
    script = paths.jobs_of("train", leg.cluster) / f"{leg.origin[1]}_submission.sh"
    if not script.exists():
        return NOTHING
    text = script.read_text(encoding="utf-8", errors="replace")
    cpus = _CPUS.search(text)
    return Asked(bool(_GPUS.search(text)), int(cpus[1]) if cpus else None)
