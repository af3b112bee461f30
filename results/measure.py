"""Measures the parts of one sample set and keeps what comes out, clip by clip, none left out.

What a clip measures depends on nothing but the clip: any number of tasks, now or later, leaves the same files.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from results.faults import Faults
from results.metrics import base
from results.metrics.base import FrameMetric, SetMetric
from results.subjects import MODEL, REAL, TRUTH, Beside, with_given
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.protocol import plain_name
from vdt_hpc.progress import Progress
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.stopping import StopFlag
from vdt_hpc.store.latents import LatentSplit
from vdt_hpc.store.measures import Measures
from vdt_hpc.store.samples import ByteArray, SampleSet

Wanted = tuple[str, str]
"""(subject, name of the metric)."""
Gap = tuple[int, Wanted]
"""(part of a sample set, what of it)."""
FloatArray = npt.NDArray[np.float64]
Metrics = Mapping[str, FrameMetric | SetMetric]

_AGAIN = "remove it and run the stage sample again"


def _pixels(clips: ByteArray) -> list[Pixels]:
    return [Pixels(clip) for clip in clips]


def needed(wanted: Iterable[Wanted]) -> list[Wanted]:
    """What has to be measured for numbers that are wanted, whatever several trajectories then make of it: a metric of
    sets also needs the truth, which is all that it needs for real against real.
    """
    listed: dict[Wanted, None] = {}
    for subject, name in wanted:
        plain, of_sets = plain_name(name), isinstance(base.find(name), SetMetric)
        if of_sets:
            listed[TRUTH, plain] = None
        if not (of_sets and subject == REAL):
            listed[subject, plain] = None
    return list(listed)


class Measurer:
    """Measures parts of a sample set. A fault costs the numbers that it concerns, and no others.

    Args:
        sample_set: the finished samples, whose clips are the first of the test split, in its order.
        digests: of its parts; None: the part is damaged.
        truth: the test split.
        metrics: by name.
        beside: gives the frames of the rows beside the model.
        faults: gets what could not be measured.
    """

    def __init__(
        self, sample_set: SampleSet, digests: Sequence[str | None], truth: LatentSplit, metrics: Metrics,
        beside: Beside, faults: Faults,
    ) -> None:  # fmt: skip
        self._set, self._truth, self._metrics, self._beside = sample_set, truth, metrics, beside
        self._digests, self._faults = digests, faults
        self._kept = Measures(sample_set.folder)
        self._definitions = {name: metric.definition() for name, metric in metrics.items()}
        self._opened: dict[str, Any] = {}
        damaged = [part for part, digest in enumerate(digests) if digest is None]
        self.lost = {(part, (MODEL, name)) for part in damaged for name in metrics}
        """(part, what of it) that a fault keeps from being measured."""

    def gaps(self, wanted: Iterable[Wanted]) -> set[Gap]:
        """(part, what of it) that is not kept."""
        return {(part, want) for want in wanted for part in self._parts if not self._has(want, part)}

    def fill(self, gaps: Set[Gap], stop: StopFlag) -> None:
        """Measure what is missing, except what is lost.

        Raises:
            UserError: the disk is full.
            MissingWeights: a metric's weights are not there.
            Stopped: by a signal.
        """
        for name in dict.fromkeys(name for _, (_, name) in sorted(gaps - self.lost)):
            with self._losing([want for _, want in gaps if want[1] == name], self._parts):
                self._open(name)
        gaps = gaps - self.lost
        if not gaps:
            return
        import torch

        # Sums over threads differ in the last digits, and a task's cores depend on how many tasks there are.
        torch.set_num_threads(1)
        info, parts = self._set.info, sorted({part for part, _ in gaps})
        with Progress(f"measure {info.task}", sum(len(info.part_clips(part)) for part in parts), "clips") as progress:
            for part in parts:
                self._measure(part, sorted(want for other, want in gaps if other == part), stop, progress)

    @property
    def _parts(self) -> range:
        return range(len(self._digests))

    @contextlib.contextmanager
    def _losing(self, wants: Iterable[Wanted], parts: Iterable[int]) -> Iterator[None]:
        """What a mistake inside costs: some numbers of some parts."""
        try:
            yield
        except UserError as error:
            self._faults.add(str(error))
            self.lost |= set(itertools.product(parts, wants))

    def _has(self, want: Wanted, part: int) -> bool:
        subject, name = want
        samples, kept = self._digests[part] if subject == MODEL else "", None
        with self._losing([want], [part]):
            kept = self._kept.origin(subject, name, part)
        return kept == (self._definitions[name], samples)

    def _measure(self, part: int, wants: Sequence[Wanted], stop: StopFlag, progress: Progress) -> None:
        values: dict[Wanted, list[FloatArray]] = {want: [] for want in wants}
        names, samples = [], self._samples(part)
        for index in self._set.info.part_clips(part):
            stop.check()
            values = {want: rows for want, rows in values.items() if (part, want) not in self.lost}
            with self._losing(list(values), [part]):
                self._check_place(index)
                names.append(self._truth.clip_id(index))
                self._clip(part, index, samples, values)
            progress.advance()
        for (subject, name), of_clips in values.items():
            if (part, (subject, name)) not in self.lost:
                digest = self._digests[part] or "" if subject == MODEL else ""
                self._kept.write(subject, name, self._definitions[name], part, of_clips, names, digest)

    def _clip(
        self, part: int, index: int, samples: Iterator[ByteArray], values: Mapping[Wanted, list[FloatArray]]
    ) -> None:
        """Add what one clip measures to `values`: each (trajectories, N)."""
        info = self._set.info
        truth = Pixels(self._beside.true_frames(index))
        # One object for all subjects: a metric may keep what it has made of it.
        counted = {True: truth, False: truth.frames(info.generated)}
        for subject in dict.fromkeys(subject for subject, _ in values):
            wants = [want for want in values if want[0] == subject]
            with self._losing(wants, [part] if subject == MODEL else self._parts):
                own = next(samples) if subject == MODEL else self._beside.frames(subject, index)
                clips = {True: _pixels(own), False: _pixels(with_given(own, truth.values, info.given))}
                for want in wants:
                    with self._losing([want], self._parts):
                        values[want].append(self._numbers(want, index, counted, clips))

    def _numbers(
        self, want: Wanted, index: int, counted: Mapping[bool, Pixels], clips: Mapping[bool, Sequence[Pixels]]
    ) -> FloatArray:
        """What one metric makes of a clip, (trajectories, N); `counted` and `clips`: whether given frames count."""
        metric, opened, info = self._metrics[want[1]], self._open(want[1]), self._set.info
        whole = metric.is_of_all_frames
        frames = range(info.num_frames) if whole else info.generated
        numbers = np.stack([metric.row(opened, counted[whole], clip, frames) for clip in clips[whole]])
        self._check_numbers(want, self._truth.clip_id(index), numbers)
        return numbers

    def _samples(self, part: int) -> Iterator[ByteArray]:
        """The model's clips of a part, each (trajectories, T, H, W, 3); nothing is read before the first is asked for.

        Raises:
            UserError: the part is damaged, or is not of the test split's clips.
        """
        expected, held = self._set.info.part_clips(part), self._set.num_clips_of(part)
        if held != len(expected):
            raise UserError(f"part {part} of {self._set.folder} holds {held} of {len(expected)} clips; {_AGAIN}")
        for index, (clip_id, samples) in zip(expected, self._set.part(part), strict=True):
            self._check(index, clip_id, samples)
            yield samples

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

    def _check_place(self, index: int) -> None:
        if index >= len(self._truth):
            folder, num_clips = self._set.folder, self._set.info.num_clips
            raise UserError(f"{folder} has {num_clips} clips, the test split {len(self._truth)}; {_AGAIN}")

    def _check(self, index: int, clip_id: str, samples: ByteArray) -> None:
        info, folder, truth = self._set.info, self._set.folder, self._truth
        if truth.clip_id(index) != clip_id:
            raise UserError(
                f"clip {index} of {folder} is {clip_id}, the test split has {truth.clip_id(index)}; {_AGAIN}"
            )
        frames = truth.frames(index)
        expected_shape = (info.counts.of_clip(index), info.num_frames, *frames.shape[1:])
        if samples.shape != expected_shape or info.num_frames > len(frames):
            raise UserError(
                f"clip {clip_id} of {folder} has shape {samples.shape}, expected {expected_shape} for true frames "
                f"{frames.shape}; {_AGAIN}"
            )
