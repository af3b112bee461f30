"""Protocols as data: which test clips, how many trajectories, which numbers. A YAML file each in `results/protocols/`.

Samples that were generated once serve every protocol: each takes of them what it states. What a set of samples does not
hold is a missing number with the reason, never another number of clips under the same name.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from results.metrics import base
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import EvaluateConfig
from vdt_hpc.experiment.section import PositiveInt, Section
from vdt_hpc.experiment.tasks_config import TaskName
from vdt_hpc.store.sample_info import SampleInfo

FOLDER = Path(__file__).parent / "protocols"


class Protocol(Section):
    """What is measured of samples, and on which of them."""

    name: str
    """Name in records and tables: numbers are compared only within one name."""
    title: str
    """In a few words."""
    clips: Literal["sampled", "all", "spread"]
    """Of the test split: `sampled`: those that there are samples of; `all`: every one; `spread`: `num_clips` of them,
    evenly from the first to the last, number i at round(i / (num_clips - 1) * (N - 1)) of N."""
    num_clips: PositiveInt | None = Field(default=None, gt=1)
    """Of `spread`."""
    num_trajectories: PositiveInt | None = None
    """Trajectories of each clip; null: all that there are."""
    tasks: tuple[TaskName, ...] | None = None
    """Tasks that it is for; null: all."""
    metrics: tuple[str, ...]
    """Columns of its table: metrics by name; after a colon, what several trajectories make of it: `mean` (where nothing
    is said), `best` for each clip, `pooled` into one set."""
    remark: str = ""
    """What its readers must know."""

    @model_validator(mode="after")
    def _consistent(self) -> "Protocol":
        if (self.clips == "spread") != (self.num_clips is not None):
            raise ValueError("num_clips goes with clips: spread, and with nothing else")
        return self

    def is_for(self, task: TaskName) -> bool:
        """Whether a task is measured by it."""
        return self.tasks is None or task in self.tasks

    def chosen(self, info: SampleInfo, num_test_clips: int) -> list[int]:
        """Indices of its clips in the test split."""
        if self.clips == "sampled":
            return list(range(info.num_clips))
        if self.clips == "all" or self.num_clips is None:
            return list(range(num_test_clips))
        last = self.num_clips - 1
        return [round(number / last * (num_test_clips - 1)) for number in range(self.num_clips)]

    def lacks(self, info: SampleInfo, num_test_clips: int) -> str | None:
        """What a set of samples lacks for it, or None."""
        if self.num_clips is not None and self.num_clips > num_test_clips:
            return f"protocol {self.name} takes {self.num_clips} test clips; there are {num_test_clips}"
        num_needed = max(self.chosen(info, num_test_clips)) + 1
        if num_needed > info.num_clips:
            return (
                f"protocol {self.name} takes clips up to number {num_needed} of the test split; {info.num_clips} were "
                f"sampled (sample.num_clips)"
            )
        if (self.num_trajectories or 1) > info.num_trajectories:
            return (
                f"protocol {self.name} takes {self.num_trajectories} trajectories; {info.num_trajectories} "
                "were sampled (sample.num_trajectories)"
            )
        return None


def of_run(config: EvaluateConfig) -> list[Protocol]:
    """The run's own protocol, on all that it sampled, then those that it names.

    Raises:
        UserError: one is unknown or damaged, or names a metric that there is not.
    """
    own = Protocol(name=config.protocol, title="all that was sampled", clips="sampled", metrics=config.metrics)
    protocols = [own, *map(load, config.protocols)]
    for protocol in protocols:
        for metric in protocol.metrics:
            base.find(metric)
    return protocols


def load(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UserError: there is none, or its file is damaged.
    """
    found = find(name)
    if found is None:
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
        raise UserError(f"unknown protocol {name!r}: there is no results/protocols/{name}.yaml; there are {known}")
    return found


def find(name: str) -> Protocol | None:
    """The protocol of a name, or None.

    Raises:
        UserError: its file is damaged.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        return None
    protocol = strict.load(Protocol, path)
    if protocol.name != name:
        raise UserError(f"{path} is named {protocol.name}; a protocol has the name of its file")
    return protocol
