"""What a metric is: a small object with its name, range, direction, needs and citation, found by its module's name.

To add one: write `results/metrics/<name>.py` with a `METRIC`, and name it in the run's `evaluate.metrics`.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from results.pixels import Pixels
from results.weights import reason_if_missing
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.weights import MetricWeights

ClipMeasure = Callable[[Pixels, Pixels], float]
"""(truth, other), both (T, H, W, 3) and the generated frames alone -> one number; infinite where they are identical
and the metric has no finite value for that."""
Extractor = Callable[[Pixels], npt.NDArray[np.float64]]
"""(T, H, W, 3), the whole clip -> features (D,)."""


@dataclass(frozen=True)
class Metric:
    """What every metric states about itself."""

    name: str
    """Name in configurations and records."""
    label: str
    """Name in tables."""
    unit: str
    """Unit, or an empty text."""
    direction: Literal["up", "down"]
    """Where better numbers lie."""
    value_range: str
    """Range of its values, in words."""
    num_digits: int
    """Digits after the decimal point in tables."""
    how: str
    """How it is measured, in one sentence."""
    citation: str
    """Where it comes from."""
    needs: MetricWeights | None
    """Pretrained weights that it needs."""

    @property
    def arrow(self) -> str:
        """Arrow that points to where better numbers lie."""
        return "↑" if self.direction == "up" else "↓"

    def unavailable(self) -> str | None:
        """Why it cannot be measured on this machine, or None."""
        return reason_if_missing(self.needs) if self.needs else None


@dataclass(frozen=True)
class ClipMetric(Metric):
    """A metric that compares a clip with its truth."""

    open: Callable[[], ClipMeasure]
    """Loads what is needed and returns the measure."""


@dataclass(frozen=True)
class SetMetric(Metric):
    """A metric that compares two sets of clips, through features of each clip."""

    open: Callable[[], Extractor]
    """Loads what is needed and returns the extractor."""
    min_frames: int
    """Fewest frames a clip needs."""
    min_clips: int
    """Fewest clips that each side needs."""


def find(name: str) -> ClipMetric | SetMetric:
    """The metric of a name.

    Raises:
        UserError: there is none.
    """
    module = f"results.metrics.{name}"
    try:
        metric: Any = importlib.import_module(module).METRIC
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(f"unknown metric {name!r}: there is no results/metrics/{name}.py") from None
    assert isinstance(metric, (ClipMetric, SetMetric)) and metric.name == name, module
    return metric


def bootstrap(values: Sequence[float], num_resamples: int = 1000, seed: int = 0) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the mean over clips; None where one clip says nothing of a spread.

    Args:
        values: one finite number per clip.
        num_resamples: resamples of the clips, with replacement.
        seed: of the resampling, so that the same values give the same interval.
    """
    clips = np.asarray(values, dtype=np.float64)
    if len(clips) < 2:
        return None
    generator = np.random.default_rng(seed)
    means = [clips[generator.integers(len(clips), size=len(clips))].mean() for _ in range(num_resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
