"""Protocols as data: which test clips, how many trajectories, which numbers. A YAML file each in `configs/protocol/`.

Samples that were generated once serve every protocol: each takes of them what it states. What a set of samples does not
hold is a missing number with the reason, never another number of clips under the same name.
"""

import functools
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import EvaluateConfig
from vdt_hpc.experiment.paths import checkout
from vdt_hpc.experiment.sample_counts import SampleCounts, spread
from vdt_hpc.experiment.section import PositiveInt, Section
from vdt_hpc.experiment.tasks_config import TaskName

FOLDER = checkout() / "configs" / "protocol"


class Protocol(Section):
    """What is measured of samples, and on which of them."""

    name: str
    """Name in records and tables: numbers are compared only within one name."""
    title: str
    """In a few words."""
    clips: Literal["sampled", "all", "spread"]
    """Of the test split: `sampled`: those that there are samples of; `all`: every one; `spread`: `num_clips` of them,
    evenly from the first to the last."""
    num_clips: PositiveInt | None = Field(default=None, gt=1)
    """Of `spread`."""
    num_trajectories: PositiveInt | None = None
    """Trajectories of each clip; null: as many as there are of every clip."""
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

    def chosen(self, sampled: SampleCounts, num_test_clips: int) -> list[int]:
        """Indices of its clips in the test split; none where that has too few.

        Args:
            sampled: what there is, or will be.
            num_test_clips: clips of the test split.
        """
        if self.clips == "sampled":
            return list(range(sampled.num_clips))
        if self.num_clips is None:
            return list(range(num_test_clips))
        return spread(self.num_clips, num_test_clips) if self.num_clips <= num_test_clips else []

    def lacks(self, sampled: SampleCounts, num_test_clips: int) -> str | None:
        """What samples lack for it, or None; arguments as for `chosen`."""
        clips = self.chosen(sampled, num_test_clips)
        if not clips:
            return f"protocol {self.name} takes {self.num_clips} test clips; there are {num_test_clips}"
        if clips[-1] >= sampled.num_clips:
            return (
                f"protocol {self.name} takes clips up to number {clips[-1] + 1} of the test split; {sampled.num_clips} "
                "have samples (sample.num_clips)"
            )
        least = min(sampled.of_clip(clip) for clip in clips)
        if (self.num_trajectories or 1) > least:
            fields = "sample.num_trajectories" + (", sample.num_repeated_clips" if sampled.num_trajectories > 1 else "")
            return (
                f"protocol {self.name} takes {self.num_trajectories} trajectories of each of its {len(clips)} clips; "
                f"some have {least} ({fields})"
            )
        return None


def own(config: EvaluateConfig) -> Protocol:
    """The protocol that a run has of itself: its metrics on all that it sampled."""
    return Protocol(name=config.protocol, title="all that was sampled", clips="sampled", metrics=config.metrics)


def of_run(config: EvaluateConfig) -> list[Protocol]:
    """The run's own, then those that it names.

    Raises:
        UserError: one is unknown or damaged, or the run's own has the name of a file, under which its numbers would
            stand beside those of runs that were measured by that file.
    """
    if find(config.protocol) is not None:
        raise UserError(
            f"evaluate.protocol {config.protocol!r} is the name of configs/protocol/{config.protocol}.yaml, which the "
            "run's own protocol must not carry; choose another; evaluate.protocols measures by the file"
        )
    return [own(config), *map(load, config.protocols)]


def plain_name(metric: str) -> str:
    """The metric that is measured, whatever several trajectories then make of it: `ssim` of `ssim:best`."""
    return metric.partition(":")[0]


def load(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UserError: there is none, or its file is damaged.
    """
    found = find(name)
    if found is None:
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
        raise UserError(f"unknown protocol {name!r}: there is no configs/protocol/{name}.yaml; there are {known}")
    return found


def find(name: str) -> Protocol | None:
    """The protocol of a name, or None.

    Raises:
        UserError: its file is damaged.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        return None
    protocol = _read(path)
    if protocol.name != name:
        raise UserError(f"{path} is named {protocol.name}; a protocol has the name of its file")
    return protocol


@functools.cache
def _read(path: Path) -> Protocol:
    """Once in a process: a report asks for every table."""
    return strict.load(Protocol, path)
