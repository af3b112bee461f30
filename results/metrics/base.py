"""What a metric is: a small object with its name, range, direction, needs and citation, found by its module's name.

To add one: write `results/metrics/<name>.py` with a `METRIC`, and name it in the run's `evaluate.metrics`.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from results.frechet import frechet
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.metric_names import WORDS
from vdt_hpc.experiment.weights import MetricWeights
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.quality.weights import reason_if_missing, sha256_of
from vdt_hpc.store.measures import Definition

Over = Literal["mean", "best", "pooled"]
"""What several trajectories of a clip become: their mean; the best of them, clip by clip; members of one set."""
FloatArray = npt.NDArray[np.float64]
FrameMeasure = Callable[[Pixels, Pixels], FloatArray]
"""(truth, other), both (T, H, W, 3) and the generated frames alone -> one value for each frame, (T,)."""
Extractor = Callable[[Pixels], FloatArray]
"""(T, H, W, 3), the whole clip -> features (D,)."""


def _mean(values: FloatArray) -> FloatArray:
    mean: FloatArray = values.mean(axis=-1)
    return mean


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
    over: Over = "mean"
    """What it makes of several trajectories of a clip."""
    min_side_px: int = 1
    """Fewest pixels that a frame's shorter side needs."""
    is_of_all_frames: bool = False
    """Whether given frames count, as the subject has them; otherwise they are the true ones, and none of a metric of
    frames."""

    @property
    def arrow(self) -> str:
        """Arrow that points to where better numbers lie."""
        return "↑" if self.direction == "up" else "↓"

    @property
    def title(self) -> str:
        """Its name and its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def heading(self) -> str:
        """Its name, its unit and the arrow to better values."""
        return f"{self.title} {self.arrow}"

    def rounded(self, value: float) -> str:
        """A value with the digits of tables."""
        return f"{value:.{self.num_digits}f}"

    def shown(self, value: float) -> str:
        """A value with the digits of tables, and its unit."""
        return f"{self.rounded(value)} {self.unit}" if self.unit else self.rounded(value)

    def definition(self) -> Definition:
        """How it is measured on this machine.

        Raises:
            MissingWeights: its weights are not there.
        """
        return Definition(self.how, sha256_of(self.needs) if self.needs else "")

    def unavailable(self) -> str | None:
        """Why it cannot be measured on this machine, or None."""
        return reason_if_missing(self.needs) if self.needs else None


@dataclass(frozen=True)
class FrameMetric(Metric):
    """A metric that compares a clip with its truth, frame by frame."""

    _: KW_ONLY
    open: Callable[[], FrameMeasure]
    """Loads what is needed and returns the measure."""
    of_frames: Callable[[FloatArray], FloatArray] = _mean
    """What the values of several frames make together, over the last axis; infinite where frames are identical and the
    metric has no finite value for that."""

    def row(self, opened: FrameMeasure, truth: Pixels, other: Pixels, frames: Sequence[int]) -> FloatArray:
        """What is kept of a clip (T, H, W, 3): one value for each of some frames, whose truth is given."""
        return opened(truth, other.frames(frames))


@dataclass(frozen=True)
class SetMetric(Metric):
    """A metric that compares two sets of clips, through features of each clip."""

    _: KW_ONLY
    open: Callable[[], Extractor]
    """Loads what is needed and returns the extractor."""
    min_frames: int
    """Fewest frames a clip needs."""
    min_clips: int
    """Fewest clips that each side needs."""
    distance: Callable[[FloatArray, FloatArray], float] = frechet
    """(true features, others), both (clips, ..., D)."""

    def row(self, opened: Extractor, truth: Pixels, other: Pixels, frames: Sequence[int]) -> FloatArray:
        """What is kept of a clip (T, H, W, 3): the features of all of it."""
        return opened(other)


def find(name: str) -> FrameMetric | SetMetric:
    """The metric of a name, such as `ssim`, or `ssim:best` for the best trajectory of each clip.

    Raises:
        UserError: there is none.
    """
    plain, _, over = name.partition(":")
    module = f"results.metrics.{plain.replace('-', '_')}"
    try:
        metric: Any = importlib.import_module(module).METRIC
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(f"unknown metric {plain!r}: there is no {module.replace('.', '/')}.py") from None
    assert isinstance(metric, (FrameMetric, SetMetric)) and metric.name == plain, module
    if not over:
        return metric
    known = WORDS[type(metric).__name__]
    if over not in known:
        raise UserError(f"unknown metric {name!r}: after the colon, {plain} takes {' or '.join(known)}")
    label = f"{metric.label}, {known[over]}"
    return replace(metric, name=name, label=label, over=cast(Over, over))


def bootstrap(values: npt.ArrayLike, num_resamples: int = 1000, seed: int = 0) -> tuple[float, float] | None:
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
