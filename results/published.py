"""Numbers that others published, typed: `published.yaml`."""

from pathlib import Path

from pydantic import model_validator

from vdt_hpc.experiment import strict
from vdt_hpc.experiment.section import PositiveInt, Section
from vdt_hpc.experiment.tasks_config import TaskName

FILE = Path(__file__).with_name("published.yaml")


class PublishedRow(Section):
    """One method's numbers."""

    method: str
    """Name in the table."""
    source: str
    """The work that the numbers come from."""
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
    """Rows that were measured on one data set by one protocol."""

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
    listed_in: str
    """The list that the rows were taken from."""
    caution: str
    """What to bear in mind when a number of ours stands beside them."""
    rows: tuple[PublishedRow, ...]
    """In the order of the list."""


def load() -> Published:
    """The published rows.

    Raises:
        UserError: the file is not as described above.
    """
    return strict.load(Published, FILE)
