"""Numbers of a table from what was measured of each clip: means, intervals, distances between sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from results.metrics.base import FrameMetric, SetMetric, bootstrap
from results.subjects import REAL, TRUTH, real_sides
from vdt_hpc.experiment.protocol import plain_name
from vdt_hpc.store.measures import Definition, Measures

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One number, with an interval where it has one, or the reason why there is none."""

    value: float | None
    missing: str | None = None
    interval: tuple[float, float] | None = None
    floor_clips: int | None = None
    """Of a distance of real clips from each other: clips on each side."""
    definition: Definition | None = None
    """How it was measured; None: it was not."""


@dataclass(frozen=True)
class Selection:
    """What of a sample set a protocol takes."""

    clips: Sequence[int]
    """Indices."""
    num_trajectories: int


def outcome(
    kept: Measures, num_parts: int, subject: str, metric: FrameMetric | SetMetric, selection: Selection
) -> Outcome:
    """A number of a sample set that was measured whole.

    Raises:
        UserError: what was kept is damaged.
        MissingWeights: the metric's weights are gone.
    """
    return replace(_outcome(kept, num_parts, subject, metric, selection), definition=metric.definition())


def _outcome(
    kept: Measures, num_parts: int, subject: str, metric: FrameMetric | SetMetric, selection: Selection
) -> Outcome:
    def read(whose: str) -> FloatArray:
        """(clips, trajectories, ...) of the selection."""
        values = kept.read(whose, plain_name(metric.name), num_parts)
        return values[list(selection.clips), : selection.num_trajectories]

    if isinstance(metric, FrameMetric):
        by_frame = read(subject)
        identical = "have frames that are" if np.isinf(by_frame).any() else "are"
        return of_clips(_over_trajectories(metric, metric.of_frames(by_frame)), identical)
    if subject == REAL:
        everything = kept.read(TRUTH, plain_name(metric.name), num_parts)[:, 0]
        one, other = real_sides(selection.clips, len(everything))
        return Outcome(metric.distance(everything[one], everything[other]), floor_clips=len(one))
    truth = read(TRUTH)[:, 0]
    features = read(subject)
    if metric.over == "pooled":
        return Outcome(metric.distance(truth, np.concatenate(features.swapaxes(0, 1))))
    distances = [metric.distance(truth, features[:, k]) for k in range(features.shape[1])]
    return Outcome(sum(distances) / len(distances))


def _over_trajectories(metric: FrameMetric, values: FloatArray) -> FloatArray:
    """(clips, trajectories) -> (clips,)."""
    if metric.over == "best":
        best: FloatArray = values.max(axis=1) if metric.direction == "up" else values.min(axis=1)
        return best
    mean: FloatArray = values.mean(axis=1)
    return mean


def of_clips(values: FloatArray, identical: str = "are") -> Outcome:
    """The mean over clips with its interval, or the reason why there is none.

    Args:
        values: (clips,); infinite where a clip equals the truth and the metric has no finite value.
        identical: the verb of such a clip: it is identical as a whole, or has frames that are.
    """
    num_identical = int(np.isinf(values).sum())
    if num_identical:
        return Outcome(None, f"infinite: {num_identical} of {len(values)} clips {identical} identical with the truth")
    return Outcome(float(values.mean()), interval=bootstrap(values))
