"""Where a new run begins: at the weights of its seed or, with `init.from`, at those of a file, on every rank alike."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.trainer import Trainer
from vdt_hpc import files
from vdt_hpc.dist import ProcessGroup
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.weights import initial_file
from vdt_hpc.model import pretrained
from vdt_hpc.model.fitting import Fitted, Report


@dataclass(frozen=True)
class Beginning:
    """The file that a run began with, and what became of it."""

    path: Path
    sha256: str
    report: Report

    def to_json(self) -> dict[str, Any]:
        """Values of the log's line."""
        return {"file": self.path.name, "sha256": self.sha256, **asdict(self.report)}


def begin(config: RunConfig, trainer: Trainer, group: ProcessGroup) -> Beginning | None:
    """Give a trainer that has trained nothing yet its initial weights; every rank must call it.

    Returns:
        What it began with; None where that is the seed alone.

    Raises:
        UserError: on every rank, if one cannot read the file or it does not fit the model, or if the ranks see
            different files.
    """
    if config.init.from_ is None:
        return None
    fitted, path, sha256, fault = _read(config.init.from_, config, trainer)
    faults = group.gather_texts(fault)
    if told := next(filter(None, faults), ""):
        raise UserError(
            told if len(set(faults)) == 1 else f"{told} (task {faults.index(told)}; others have no such fault)"
        )
    assert fitted is not None
    if len(set(group.gather_texts(sha256))) > 1:
        raise UserError(f"tasks see different files as init.from={config.init.from_}; put one where all nodes see it")
    trainer.start_from(fitted.state)
    begun = Beginning(path, sha256, fitted.report)
    if group.task.rank == 0:
        print("\n  ".join([f"weights from {path} ({sha256[:12]})", *fitted.report.lines()]), flush=True)
    return begun


def _read(source: str, config: RunConfig, trainer: Trainer) -> tuple[Fitted | None, Path, str, str]:
    """This rank's fitted weights, their file and its SHA-256; or what is wrong, in one line, as the last."""
    path = Path(source)
    try:
        path = initial_file(source)
        fitted = pretrained.load(path, trainer.model, config)
        with files.readable(path):
            return fitted, path, files.sha256(path), ""
    except UserError as error:
        return None, path, "", str(error)
