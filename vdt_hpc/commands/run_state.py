"""What is on the disk of a run before its next job: checkpoints by name and size, training log, lineage."""

from dataclasses import dataclass

from vdt_hpc.commands import history
from vdt_hpc.commands.history import History
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.signature import signature
from vdt_hpc.store import checkpoint, ledger
from vdt_hpc.store.checkpoint import Checkpoint
from vdt_hpc.store.ledger import Leg


@dataclass(frozen=True)
class RunState:
    """A run as its folder shows it; all empty for one that is new."""

    newest: Checkpoint | None
    """The newest checkpoint whose names and sizes are in order; hashes are not compared."""
    fault: str
    """Why checkpoints cannot be gone on with, in one line for the user; empty where they can."""
    damaged: tuple[str, ...]
    """A line for each damaged checkpoint that is newer."""
    history: History
    legs: tuple[Leg, ...]
    """The jobs that have trained it, oldest first."""

    @property
    def clips_seen(self) -> int:
        """Where training would go on."""
        return self.newest.clips_seen if self.newest else 0

    def is_trained(self, config: RunConfig) -> bool:
        """True if the stage train has nothing left to do."""
        return self.clips_seen >= config.train.total_clips and self.history.is_complete


def look(config: RunConfig, paths: RunPaths) -> RunState:
    """Look at a run's folder; reads no tensor."""
    lines: list[str] = []
    newest, fault = None, ""
    try:
        newest = checkpoint.newest(paths.checkpoints, signature(config), verify=False, say=lines.append)
        if newest is None and lines:
            fault = (
                f"every checkpoint in {paths.checkpoints} is damaged; remove them to start from zero, or restore one"
            )
    except UserError as error:
        fault = str(error)
    measured, legs = History((), (), False), []
    try:
        measured, legs = history.read(paths.progress_log), ledger.read(paths.ledger)
    except OSError as error:
        fault = fault or f"cannot read {error.filename}: {error.strerror}; choose a root that you may use"
    return RunState(newest, fault, tuple(lines), measured, tuple(legs))
