"""What runs inside a job: one stage, and an honest word about how it ended.

Imported on the node by submitit, from a pickle that holds a few small values and no code.
"""

import json
import os
import pickle
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import submitit

from vdt_hpc import files
from vdt_hpc.errors import CostsAPart, UserError
from vdt_hpc.experiment import stages
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for, user_path
from vdt_hpc.experiment.stages import ARRAY


@dataclass(frozen=True)
class Outcome:
    """How one task of a job ended, as it is written beside the job's logs.

    submitit's own result files are no run status: a stale one makes a requeued job look done.
    """

    status: str
    """`complete`, `stopped` (cleanly, before its end), `incomplete` (all is done but what the user must mend), `error`
    (the user must mend it first) or `crashed`."""
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
    rivals: tuple[str, ...] = ()
    """The other partitions, as JSON, where the same stage waits too; the first job to start wins."""
    array_index: int = 0
    """Which task of a job array it is."""
    array_size: int = 1
    """Tasks of that array; 1: none."""

    @classmethod
    def of(cls, stage: str, config: RunConfig, partition: Partition) -> "StageJob":
        """The job that runs a stage."""
        return cls(stage, config.model_dump_json(), partition.model_dump_json())

    @classmethod
    def everywhere(
        cls, stage: str, config: RunConfig, partitions: Sequence[Partition], paths: RunPaths, command: str
    ) -> "list[StageJob]":
        """The rivals that run a stage, one per partition; they find the same folders from wherever they start."""
        data = config.data.model_copy(update={"root": str(user_path(config.data.root))})
        text = config.model_copy(update={"data": data}).model_dump_json()
        places = [each.model_copy(update={"root": str(paths.root)}).model_dump_json() for each in partitions]
        return [
            cls(stage, text, place, command, tuple(other for other in places if other != place)) for place in places
        ]

    @staticmethod
    def pickle_path(folder: Path, job_id: str) -> Path:
        """Where submitit keeps what it was given for a job."""
        return folder / f"{job_id}_submitted.pkl"

    @classmethod
    def submitted(cls, folder: Path, job_id: str) -> "StageJob":
        """What submitit was given for a job."""
        # Written by our own launcher, into a folder of the run.
        with cls.pickle_path(folder, job_id).open("rb") as file:
            job = pickle.load(file).function
        assert isinstance(job, cls)
        return job

    @classmethod
    def find(cls, folder: Path, job_id: str) -> "StageJob | None":
        """The same, or None where its file is gone."""
        return cls.submitted(folder, job_id) if cls.pickle_path(folder, job_id).exists() else None

    @property
    def run_config(self) -> RunConfig:
        """What it computes."""
        return RunConfig.model_validate_json(self.config)

    @property
    def place(self) -> Partition:
        """Where it runs."""
        return Partition.model_validate_json(self.partition)

    @property
    def paths(self) -> RunPaths:
        """Where its files lie."""
        return paths_for(self.run_config, self.place)

    def as_rival(self, partition: str) -> "StageJob":
        """The same on one of the other partitions."""
        others = tuple(other for other in (self.partition, *self.rivals) if other != partition)
        return replace(self, partition=partition, rivals=others)

    def as_array(self, size: int) -> "list[StageJob]":
        """The same, shared among the tasks of a job array."""
        return [replace(self, array_index=index, array_size=size) for index in range(size)]

    def __call__(self) -> None:
        """Run the stage in this process and write its outcome."""
        environment = submitit.JobEnvironment()
        path = Outcome.path(environment.paths.folder, environment.job_id, environment.global_rank)
        path.unlink(missing_ok=True)  # of an earlier start of the same job
        # submitit swallows TERM; a stage that can save installs its own flag, any other simply ends and resumes.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ[ARRAY] = f"{self.array_index}/{self.array_size}"
        try:
            result = stages.load(self.stage)(self.run_config, self.place)
        except CostsAPart as error:  # no bad end: Slurm would kill the other tasks for it
            _write(path, Outcome("incomplete", str(error), {}))
            print(f"error: {error}", file=sys.stderr, flush=True)
            return
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
