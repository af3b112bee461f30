"""Measures one sample set in one pass over its clips: what is wanted of each subject, clip by clip, none left out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from results.fvd import FeatureSums, frechet_distance
from results.metrics.base import ClipMetric, SetMetric, bootstrap
from results.pixels import Pixels
from results.subjects import REAL, Beside
from vdt_hpc.errors import UserError
from vdt_hpc.progress import Progress
from vdt_hpc.store.latents import LatentSplit
from vdt_hpc.store.samples import ByteArray, SampleSet

Wanted = tuple[str, str]
"""(subject, name of the metric)."""


@dataclass(frozen=True)
class Outcome:
    """One number, with an interval where it has one, or the reason why there is none."""

    value: float | None
    missing: str | None = None
    interval: tuple[float, float] | None = None


def measure(
    sample_set: SampleSet,
    truth: LatentSplit,
    wanted: Iterable[Wanted],
    metrics: Mapping[str, ClipMetric | SetMetric],
    beside: Beside,
) -> dict[Wanted, Outcome]:
    """Measure every wanted (subject, metric) of a sample set.

    Args:
        sample_set: the finished samples, whose clips are the first of the test split, in its order.
        truth: the test split.
        wanted: what to measure.
        metrics: the metrics by name.
        beside: gives the subjects' frames.

    Raises:
        UserError: the samples are not of the test split's clips.
        MissingWeights: a metric's weights are not there.
    """
    info = sample_set.info
    tally = _Tally(list(wanted), metrics, beside, info.generated)
    num_clips = 0
    with Progress(f"measure {info.task}", info.num_clips, "clips") as progress:
        for clip_id, samples in sample_set.clips():
            _check_clip(sample_set, truth, num_clips, clip_id, samples)
            tally.add(num_clips, samples)
            num_clips += 1
            progress.advance()
    if num_clips != info.num_clips:
        raise UserError(f"{sample_set.folder} holds {num_clips} of {info.num_clips} clips; {_AGAIN}")
    return tally.outcomes()


_AGAIN = "remove it and run the stage sample again"


def _check_clip(sample_set: SampleSet, truth: LatentSplit, index: int, clip_id: str, samples: ByteArray) -> None:
    info, folder = sample_set.info, sample_set.folder
    if index >= len(truth) or truth.clip_id(index) != clip_id:
        expected = truth.clip_id(index) if index < len(truth) else "nothing more"
        raise UserError(f"clip {index} of {folder} is {clip_id}, the test split has {expected}; {_AGAIN}")
    frames = truth.frames(index)
    expected_shape = (info.num_trajectories, info.num_frames, *frames.shape[1:])
    if samples.shape != expected_shape or info.num_frames > len(frames):
        raise UserError(
            f"clip {clip_id} of {folder} has shape {samples.shape}, expected {expected_shape} for true frames "
            f"{frames.shape}; {_AGAIN}"
        )


class _Tally:
    """What one pass collects: numbers of clips, and sums of features."""

    def __init__(
        self,
        wanted: list[Wanted],
        metrics: Mapping[str, ClipMetric | SetMetric],
        beside: Beside,
        generated: Sequence[int],
    ) -> None:
        self._wanted, self._beside, self._generated = wanted, beside, generated
        used = {name: metrics[name] for _, name in wanted}
        self._measures = {name: metric.open() for name, metric in used.items() if isinstance(metric, ClipMetric)}
        self._extractors = {name: metric.open() for name, metric in used.items() if isinstance(metric, SetMetric)}
        self._per_clip: dict[Wanted, list[float]] = {want: [] for want in wanted}
        self._of_subject: dict[Wanted, list[FeatureSums]] = {}
        self._of_truth = {name: (FeatureSums(), FeatureSums()) for name in self._extractors}

    def add(self, index: int, samples: ByteArray) -> None:
        """Count one clip; `samples` are the model's, (trajectories, T, H, W, 3)."""
        truth = Pixels(self._beside.true_frames(index))
        for name, extract in self._extractors.items():
            self._of_truth[name][index % 2].add(extract(truth))
        for subject in dict.fromkeys(subject for subject, _ in self._wanted):
            names = [name for other, name in self._wanted if other == subject]
            if subject == REAL:  # its sets of clips are halves of the truth
                names = [name for name in names if name in self._measures]
            clips = [Pixels(clip) for clip in self._beside.frames(subject, index, samples)] if names else []
            for name in names:
                self._add_subject((subject, name), truth, clips)

    def _add_subject(self, want: Wanted, truth: Pixels, clips: list[Pixels]) -> None:
        _, name = want
        if name in self._measures:
            compare = self._measures[name]
            true = truth.frames(self._generated)
            values = [compare(true, clip.frames(self._generated)) for clip in clips]
            self._per_clip[want].append(sum(values) / len(values))  # the mean over trajectories
        else:
            sums = self._of_subject.setdefault(want, [FeatureSums() for _ in clips])
            for one, clip in zip(sums, clips, strict=True):
                one.add(self._extractors[name](clip))

    def outcomes(self) -> dict[Wanted, Outcome]:
        """A number or a reason for everything that was wanted."""
        return {want: self._outcome(want) for want in self._wanted}

    def _outcome(self, want: Wanted) -> Outcome:
        subject, name = want
        if name in self._measures:
            return of_clips(self._per_clip[want])
        even, odd = self._of_truth[name]
        if subject == REAL:
            return Outcome(frechet_distance(even, odd))
        distances = [frechet_distance(even + odd, sums) for sums in self._of_subject[want]]
        return Outcome(sum(distances) / len(distances))


def of_clips(values: list[float]) -> Outcome:
    """The mean over clips with its interval, or the reason why there is none.

    Args:
        values: one number per clip; infinite where a clip equals the truth and the metric has no finite value.
    """
    num_identical = sum(math.isinf(value) for value in values)
    if num_identical:
        return Outcome(None, f"infinite: {num_identical} of {len(values)} clips are identical with the truth")
    return Outcome(sum(values) / len(values), interval=bootstrap(values))
