"""Numbers that others published, typed, in groups: `published.yaml`.

A group stands in the tables of its task and data set. Where no group has them, any of the task stands in the table of
the run's own protocol, and there alone. Of several, those of the table's protocol stand there, else the first. So rows
of the lab report stand in `lab2024` with the numbers that it repeats, and elsewhere with those of the report's table.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from results import wording
from results.current import Comparison
from results.metrics import base
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.section import PositiveInt, Section
from vdt_hpc.experiment.tasks_config import TaskName

FILE = Path(__file__).with_name("published.yaml")


class MeasuredBy(Section):
    """What is known of how numbers were measured; every field is given, null where nobody states it."""

    known_from: str | None
    """Where these facts were read."""
    clips: PositiveInt | None
    """Test clips."""
    trajectories: PositiveInt | None
    """Samples of each clip."""
    fvd_over_trajectories: Literal["mean", "pooled", "best"] | None
    """What the FVD of several trajectories is: the mean of theirs, one FVD of all, or that of each clip's best."""
    frames_over_trajectories: Literal["mean", "best"] | None
    """Whether PSNR, SSIM and LPIPS of a clip are the mean over its trajectories or its best one's."""
    ssim_colours: Literal["grey", "colour"] | None
    """Whether SSIM compares grey or colour frames."""
    fvd_frames: tuple[PositiveInt, ...] | None
    """Lengths of the pieces, in frames, that a clip is cut into for the FVD."""
    resize_filter: str | None
    """Filter that made the small frames."""
    remark: str | None
    """What else is particular."""

    @model_validator(mode="after")
    def _several_trajectories(self) -> "MeasuredBy":
        if self.trajectories == 1 and (self.fvd_over_trajectories or self.frames_over_trajectories):
            raise ValueError("one trajectory has neither a mean nor a best; give null")
        return self

    @property
    def text(self) -> str:
        """The protocol as a footnote."""
        facts = [
            ("clips", self.clips and f"{self.clips:,} clips"),
            ("trajectories", self._trajectories()),
            ("SSIM's colours", self.ssim_colours and f"{self.ssim_colours} SSIM"),
            ("frames of the FVD", self._fvd_frames()),
            ("resize filter", self.resize_filter),
        ]
        known = [fact for _, fact in facts if fact]
        unknown = [name for name, fact in facts if not fact]
        known += [f"{wording.listed(unknown)} not stated"] if unknown else []
        known += [self.remark] if self.remark else []
        return f"protocol{f', from {self.known_from}' if self.known_from else ''}: {'; '.join(known)}"

    def _trajectories(self) -> str | None:
        if self.trajectories is None:
            return None
        if self.trajectories == 1:
            return "one trajectory"
        fvd = {
            "mean": "FVD the mean", "pooled": "one FVD of all", "best": "FVD of the best",
            None: "FVD not stated",
        }  # fmt: skip
        frames = {
            "mean": "SSIM and LPIPS the mean", "best": "SSIM and LPIPS of the best",
            None: "SSIM and LPIPS not stated",
        }  # fmt: skip
        over = f"{fvd[self.fvd_over_trajectories]}, {frames[self.frames_over_trajectories]}"
        return f"{self.trajectories} trajectories: {over}"

    def _fvd_frames(self) -> str | None:
        if self.fvd_frames is None:
            return None
        lengths = wording.listed([str(length) for length in self.fvd_frames])
        return f"FVD of {'chunks of ' if len(self.fvd_frames) > 1 else ''}{lengths} frames"


class PublishedRow(Section):
    """One method's numbers."""

    method: str
    """Name in the table."""
    source: str
    """The work that the numbers come from."""
    listed_in: str
    """The list that the numbers were taken from."""
    protocol: MeasuredBy
    """How they were measured, as far as known."""
    values: dict[str, float]
    """Metric -> number."""
    doubts: dict[str, str] = {}  # noqa: RUF012  (pydantic copies defaults)
    """Metric -> why the number is not to be trusted."""

    @model_validator(mode="after")
    def _doubts_have_numbers(self) -> "PublishedRow":
        unknown = set(self.doubts) - set(self.values)
        if unknown:
            raise ValueError(f"{self.method} has a doubt about {', '.join(sorted(unknown))}, but no number for it")
        return self


class Published(Section):
    """A group of rows that were measured on one data set by one protocol."""

    dataset: str
    """Data set, as in a run's `data.dataset`."""
    protocol: str
    """Protocol, as in a run's `evaluate.protocol`."""
    task: TaskName
    """Task of the samples."""
    frame_height_px: PositiveInt
    """Height and width of the frames, in pixels."""
    given_frames: PositiveInt
    """Frames given at the start of a clip."""
    num_frames: PositiveInt
    """Frames of a clip, given and generated."""
    caution: str
    """What to bear in mind when a number of ours stands beside them."""
    rows: tuple[PublishedRow, ...]
    """In the order of the tables."""

    @model_validator(mode="after")
    def _names_differ(self) -> "Published":
        names = [row.method for row in self.rows]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} stands in two rows")
        return self

    @property
    def conditions(self) -> str:
        """Data set, frame size and protocol, as the header of a table names them."""
        return f"{self.dataset} {self.frame_height_px} px, {self.protocol}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of any row."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.values))

    def is_comparable(self, comparison: Comparison) -> bool:
        """Whether our numbers may stand in its columns."""
        ours = (comparison.dataset, comparison.protocol, comparison.task, comparison.frame_height_px,
                comparison.given_frames, comparison.num_frames)  # fmt: skip
        return ours == (self.dataset, self.protocol, self.task, self.frame_height_px, self.given_frames,
                        self.num_frames)  # fmt: skip


class _Groups(Section):
    """All of the file."""

    groups: tuple[Published, ...]
    """In the order of their precedence."""

    @model_validator(mode="after")
    def _conditions_differ(self) -> "_Groups":
        named = [f"{group.task} on {group.conditions}" for group in self.groups]
        twice = {name for name in named if named.count(name) > 1}
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} has two groups")
        return self


@functools.cache
def load(path: Path = FILE) -> tuple[Published, ...]:
    """The published groups; a file is read once in a process.

    Raises:
        UserError: the file is not as described above, or names a metric that there is not.
    """
    groups = strict.load(_Groups, path).groups
    for name in (name for group in groups for name in group.metrics):
        base.find(name)
    return groups


def beside(comparison: Comparison, groups: Sequence[Published], own_protocol: str = "") -> list[Published]:
    """The groups that stand in a table of ours, by the rule above.

    Args:
        comparison: our rows.
        groups: all that there are.
        own_protocol: name of the run's own protocol; an empty text: this table's.
    """
    of_task = [group for group in groups if group.task == comparison.task]
    near = [group for group in of_task if group.dataset == comparison.dataset]
    if not near and comparison.protocol == (own_protocol or comparison.protocol):
        near = of_task
    return [group for group in near if group.protocol == comparison.protocol] or near[:1]
