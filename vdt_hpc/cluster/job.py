"""What runs inside a job: one stage, and an honest word about how it ended.

Imported on the node by submitit, from a pickle that holds three small values and no code.
"""

import json
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import submitit

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import stages
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition


@dataclass(frozen=True)
class Outcome:
    """How one task of a job ended, as it is written beside the job's logs.

    submitit's own result files are no run status: a stale one makes a requeued job look done.
    """

    status: str
    """`complete`, `stopped` (cleanly, before its end), `error` (the user can mend it) or `crashed`."""
    message: str
    outputs: dict[str, str]

    @staticmethod
    def path(folder: Path, job_id: str, rank: int) -> Path:
        """Where a task writes its outcome."""
        return folder / f"{job_id}_{rank}_outcome.json"

    @classmethod
    def read(cls, folder: Path, job_id: str, rank: int) -> "Outcome | None":
        """The outcome of a task, or None while there is none."""
        path = cls.path(folder, job_id, rank)
        return cls(**files.read_json(path)) if path.exists() else None


@dataclass(frozen=True)
class StageJob:
    """A stage with its two configurations as plain values: what submitit pickles."""

    stage: str
    config: str
    """The run configuration as JSON."""
    partition: str
    """The partition as JSON."""
    command: str = ""
    """Name of the command that submitted it; empty on this machine."""

    @classmethod
    def of(cls, stage: str, config: RunConfig, partition: Partition, command: str = "") -> "StageJob":
        """The job that runs a stage."""
        return cls(stage, config.model_dump_json(), partition.model_dump_json(), command)

    def __call__(self) -> None:
        """Run the stage in this process and write its outcome."""
        environment = submitit.JobEnvironment()
        path = Outcome.path(environment.paths.folder, environment.job_id, environment.global_rank)
        path.unlink(missing_ok=True)  # of an earlier start of the same job
        # submitit swallows TERM; a stage that can save installs its own flag, any other simply ends and resumes.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            result = stages.load(self.stage)(
                RunConfig.model_validate_json(self.config), Partition.model_validate_json(self.partition)
            )
        except UserError as error:
            _write(path, Outcome("error", str(error), {}))
            print(f"error: {error}", file=sys.stderr, flush=True)
            raise SystemExit(2) from None
        except Exception as error:
            _write(path, Outcome("crashed", f"{type(error).__name__}: {error}", {}))
            raise
        _write(path, Outcome("complete" if result.complete else "stopped", result.summary, result.outputs))

    def checkpoint(self, *_: Any) -> submitit.helpers.DelayedSubmission:
        """What submitit submits again after a time limit: the same stage, which resumes by itself."""
        return submitit.helpers.DelayedSubmission(self)


def _write(path: Path, outcome: Outcome) -> None:
    try:
        files.write_json(path, asdict(outcome))
    except UserError as error:  # the disk may be what is full: the log is then the only witness
        print(f"cannot write the outcome {json.dumps(asdict(outcome))}: {error}", file=sys.stderr, flush=True)
