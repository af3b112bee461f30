"""Measures the parts of one sample set and keeps what comes out, clip by clip, none left out.

What a clip measures depends on nothing but the clip: any number of tasks, now or later, leaves the same files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from results.metrics.base import FrameMetric, SetMetric
from results.subjects import REAL, TRUTH, Beside, with_given
from vdt_hpc.errors import UserError
from vdt_hpc.progress import Progress
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.stopping import StopFlag
from vdt_hpc.store.latents import LatentSplit
from vdt_hpc.store.measures import Measures
from vdt_hpc.store.samples import ByteArray, SampleSet

Wanted = tuple[str, str]
"""(subject, name of the metric)."""
FloatArray = npt.NDArray[np.float64]
Metrics = Mapping[str, FrameMetric | SetMetric]

_AGAIN = "remove it and run the stage sample again"


def _pixels(clips: ByteArray) -> list[Pixels]:
    return [Pixels(clip) for clip in clips]


def needed(wanted: Sequence[Wanted], metrics: Metrics) -> list[Wanted]:
    """What has to be measured for numbers that are wanted: a metric of sets also needs the truth, which is all that it
    needs for real against real.
    """
    listed: dict[Wanted, None] = {}
    for subject, name in wanted:
        of_sets = isinstance(metrics[name], SetMetric)
        if of_sets:
            listed[TRUTH, name] = None
        if not (of_sets and subject == REAL):
            listed[subject, name] = None
    return list(listed)


class Measurer:
    """Measures parts of a sample set.

    Args:
        sample_set: the finished samples, whose clips are the first of the test split, in its order.
        truth: the test split.
        metrics: by name.
        beside: gives the subjects' frames.
    """

    def __init__(self, sample_set: SampleSet, truth: LatentSplit, metrics: Metrics, beside: Beside) -> None:
        self._set, self._truth, self._metrics, self._beside = sample_set, truth, metrics, beside
        self._kept = Measures(sample_set.folder)
        self._definitions = {name: metric.definition() for name, metric in metrics.items()}
        self._opened: dict[str, Any] = {}

    def missing(self, wanted: Sequence[Wanted]) -> dict[int, list[Wanted]]:
        """Part -> what is not kept of it."""
        parts = range(self._set.info.num_parts())
        gaps = {part: [want for want in wanted if not self._has(want, part)] for part in parts}
        return {part: wants for part, wants in gaps.items() if wants}

    def fill(self, gaps: Mapping[int, list[Wanted]], stop: StopFlag) -> None:
        """Measure what is missing of some parts.

        Raises:
            UserError: the samples are not of the test split's clips, or the disk is full.
            MissingWeights: a metric's weights are not there.
            Stopped: by a signal.
        """
        if not gaps:
            return
        import torch

        # Sums over threads differ in the last digits, and a task's cores depend on how many tasks there are.
        torch.set_num_threads(1)
        info = self._set.info
        num_clips = sum(len(info.part_clips(part)) for part in gaps)
        with Progress(f"measure {info.task}", num_clips, "clips") as progress:
            for part, wants in gaps.items():
                self._measure(part, wants, stop, progress)

    def _has(self, want: Wanted, part: int) -> bool:
        subject, name = want
        return self._kept.definition(subject, name, part) == self._definitions[name]

    def _measure(self, part: int, wants: list[Wanted], stop: StopFlag, progress: Progress) -> None:
        values: dict[Wanted, list[FloatArray]] = {want: [] for want in wants}
        names: list[str] = []
        for index, (clip_id, samples) in zip(self._indices(part), self._set.part(part), strict=True):
            stop.check()
            self._check(index, clip_id, samples)
            names.append(clip_id)
            for want, numbers in self._clip(index, samples, wants):
                self._check_numbers(want, clip_id, numbers)
                values[want].append(numbers)
            progress.advance()
        for (subject, name), of_clips in values.items():
            self._kept.write(subject, name, self._definitions[name], part, of_clips, names)

    def _clip(self, index: int, samples: ByteArray, wants: Sequence[Wanted]) -> list[tuple[Wanted, FloatArray]]:
        """Of one clip, all that is wanted: each (trajectories, N)."""
        info = self._set.info
        truth = Pixels(self._beside.true_frames(index))
        # One object for all subjects: a metric may keep what it has made of it.
        counted = {True: truth, False: truth.frames(info.generated)}
        found = []
        for subject in dict.fromkeys(subject for subject, _ in wants):
            own = self._beside.frames(subject, index, samples)
            clips = {True: _pixels(own), False: _pixels(with_given(own, truth.values, info.given))}
            for name in (name for other, name in wants if other == subject):
                metric, opened = self._metrics[name], self._open(name)
                whole = metric.is_of_all_frames
                frames = range(info.num_frames) if whole else info.generated
                rows = [metric.row(opened, counted[whole], clip, frames) for clip in clips[whole]]
                found.append(((subject, name), np.stack(rows)))
        return found

    def _check_numbers(self, want: Wanted, clip_id: str, numbers: FloatArray) -> None:
        """Only a metric of frames may be infinite, where frames are identical.

        Raises:
            UserError: a number is none, or a feature is infinite.
        """
        subject, name = want
        metric = self._metrics[name]
        if np.isnan(numbers).any() or (isinstance(metric, SetMetric) and not np.isfinite(numbers).all()):
            cause = f"; are {metric.needs.whose}'s weights whole?" if metric.needs else ""
            raise UserError(f"{metric.label} of clip {clip_id}, {subject}, is no finite number{cause}")

    def _open(self, name: str) -> Any:
        """A metric, ready to measure; what it needs is loaded once."""
        if name not in self._opened:
            self._opened[name] = self._metrics[name].open()
        return self._opened[name]

    def _indices(self, part: int) -> range:
        """Indices of a part's clips in the test split.

        Raises:
            UserError: the part holds another number of clips.
        """
        expected, held = self._set.info.part_clips(part), self._set.num_clips_of(part)
        if held != len(expected):
            raise UserError(f"part {part} of {self._set.folder} holds {held} of {len(expected)} clips; {_AGAIN}")
        return expected

    def _check(self, index: int, clip_id: str, samples: ByteArray) -> None:
        info, folder, truth = self._set.info, self._set.folder, self._truth
        if index >= len(truth) or truth.clip_id(index) != clip_id:
            expected = truth.clip_id(index) if index < len(truth) else "nothing more"
            raise UserError(f"clip {index} of {folder} is {clip_id}, the test split has {expected}; {_AGAIN}")
        frames = truth.frames(index)
        expected_shape = (info.counts.of_clip(index), info.num_frames, *frames.shape[1:])
        if samples.shape != expected_shape or info.num_frames > len(frames):
            raise UserError(
                f"clip {clip_id} of {folder} has shape {samples.shape}, expected {expected_shape} for true frames "
                f"{frames.shape}; {_AGAIN}"
            )
