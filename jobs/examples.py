"""What training sees: an example is a pure function of (seed, position).

Position p is the p-th clip of the run, whatever the machine, the number of GPUs or the number of restarts. Every draw
comes from a counter-based stream keyed by (seed, purpose, position), so there is no sampler state to save.

Legend: B clips, T frames, C latent channels, h x w latent cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from jobs import times
from jobs.moments import Moments
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import BatchPlan, even_parts
from vdt_hpc.experiment.tasks_config import PREFIX_TASKS, TaskName
from vdt_hpc.model import masks
from vdt_hpc.model.noise import stream

FloatArray = npt.NDArray[np.float32]

PERMUTATION, CHOICES, NOISE, POSTERIOR, MASK = 0, 1, 2, 3, 4
"""Purposes of the streams of training examples; validation adds VALIDATION."""
VALIDATION = 8


@dataclass(frozen=True)
class Example:
    """Everything that is drawn for one example, but for its noise and what its mask draws on its own."""

    position: int
    clip: int
    """Index of the clip in its split."""
    start_frame: int
    flip: int
    """0: as filmed; 1: mirrored."""
    task: TaskName
    given_frames: int
    """Given frames of a prediction (the first) or a backward prediction (the last); 0 with other tasks."""
    time: times.Time
    """Diffusion time: a whole number from 0, or a float in (0, num_train_steps] of a flow."""
    purpose: int = 0
    """0: training; VALIDATION."""


@dataclass(frozen=True)
class Batch:
    """Examples ready for the model."""

    examples: tuple[Example, ...]
    clean: FloatArray
    """(B, T, C, h, w) scaled latents: the posterior's mean where given, a draw from it where generated."""
    noise: FloatArray
    """(B, T, C, h, w)"""
    masks: list[masks.Mask]
    """(T,) or (T, 1, h, w) each."""

    @property
    def times(self) -> npt.NDArray[np.int64] | FloatArray:
        """(B,) int64, or float32 of a flow."""
        return times.as_array([example.time for example in self.examples])

    def split(self, max_clips: int) -> "list[Batch]":
        """The same examples in batches of at most `max_clips`, as even as can be; views, not copies."""
        sizes = even_parts(len(self.examples), -(-len(self.examples) // max_clips))
        ends = np.cumsum(sizes)
        pieces = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        return [
            Batch(self.examples[piece], self.clean[piece], self.noise[piece], self.masks[piece]) for piece in pieces
        ]


class Drawer:
    """Draws examples of a run.

    Args:
        config: the run; its seed, tasks and times matter here.
        num_clips: clips of the split.
        num_flips: 1, or 2 where mirrored clips may be drawn.
        clip_frames: frames of a stored clip.
    """

    def __init__(self, config: RunConfig, num_clips: int, num_flips: int, clip_frames: int) -> None:
        self._config, self._num_clips, self._num_flips = config, num_clips, num_flips
        self._num_starts = clip_frames - config.model.num_frames + 1
        weights = config.tasks.weights()
        self._tasks: list[TaskName] = list(weights)
        self._bounds = np.cumsum(list(weights.values()))

    def training(self, position: int) -> Example:
        """The `position`-th example of the run; each epoch is a permutation of all clips."""
        epoch, index = divmod(position, self._num_clips)
        clip = int(epoch_order(self._config.seed, epoch, self._num_clips)[index])
        draw = stream(self._config.seed, CHOICES, position)
        task, given_frames = self._task(draw)
        return Example(
            position=position,
            clip=clip,
            start_frame=int(draw.integers(self._num_starts)),
            flip=int(draw.integers(self._num_flips)),
            task=task,
            given_frames=given_frames,
            time=times.draw(draw, self._config.diffusion),
        )

    def validation(self, index: int, total: int) -> Example:
        """The `index`-th of `total` fixed validation examples: clips in turn from frame 0, times spread evenly."""
        draw = stream(self._config.seed, VALIDATION + CHOICES, index)
        task, given_frames = self._task(draw)
        spread = stream(self._config.seed, VALIDATION + PERMUTATION, total).permutation(total)
        return Example(
            position=index,
            clip=index % self._num_clips,
            start_frame=0,
            flip=0,
            task=task,
            given_frames=given_frames,
            time=times.quantile(self._config.diffusion, (spread[index] + 0.5) / total),
            purpose=VALIDATION,
        )

    def _task(self, draw: np.random.Generator) -> tuple[TaskName, int]:
        tasks = self._config.tasks
        index = int(np.searchsorted(self._bounds, draw.random(), side="right"))
        chosen = self._tasks[min(index, len(self._tasks) - 1)]  # rounding may leave the last bound below 1
        length = int(draw.integers(tasks.prefix_min_frames, tasks.prefix_max_frames + 1))
        return chosen, length if chosen in PREFIX_TASKS else 0


class Share:
    """One rank's share of the examples.

    Args:
        config: the run.
        plan: how a global batch is spread.
        rank: whose share it is.
        moments: the training clips.
    """

    def __init__(self, config: RunConfig, plan: BatchPlan, rank: int, moments: Moments) -> None:
        self._config, self._moments = config, moments
        self._offsets, self._sizes = plan.share(rank), plan.micro_batches[rank]
        self._drawer = Drawer(config, len(moments), moments.num_flips, moments.clip_frames)

    def prepare(self, first: int) -> list[Batch]:
        """Micro-batches of the update whose global batch starts at position `first`; several threads may call it."""
        drawn = iter([self._drawer.training(first + offset) for offset in self._offsets])
        return [prepare(self._config, self._moments, [next(drawn) for _ in range(size)]) for size in self._sizes]


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, num_clips: int) -> npt.NDArray[np.int64]:
    """Order of the clips in an epoch, a permutation of 0 .. num_clips - 1."""
    return stream(seed, PERMUTATION, epoch).permutation(num_clips)


def prepare(config: RunConfig, moments: Moments, examples: Sequence[Example]) -> Batch:
    """Turn drawn examples into the model's arrays."""
    T = config.model.num_frames
    shape = (T, *moments.frame_shape)
    _, height, width = moments.frame_shape
    chosen = [_mask(config, example, (height, width)) for example in examples]
    clean = np.empty((len(examples), *shape), np.float32)
    noise = np.empty_like(clean)
    for row, (example, mask) in enumerate(zip(examples, chosen, strict=True)):
        frames = slice(example.start_frame, example.start_frame + T)
        mean, std = (part.astype(np.float32) for part in moments.window(example.clip, example.flip, frames))
        draw = normal(config.seed, example.purpose + POSTERIOR, example.position, shape)
        clean[row] = (mean + std * draw * masks.of_latent(mask)) * np.float32(moments.scaling_factor)
        noise[row] = normal(config.seed, example.purpose + NOISE, example.position, shape)
    return Batch(tuple(examples), clean, noise, chosen)


def _mask(config: RunConfig, example: Example, cells: masks.Cells) -> masks.Mask:
    rng = stream(config.seed, example.purpose + MASK, example.position)
    return masks.for_training(example.task, rng, config.model.num_frames, cells, example.given_frames)


def normal(seed: int, purpose: int, position: int, shape: tuple[int, ...]) -> FloatArray:
    """Standard normal draws that depend on (seed, purpose, position) alone."""
    return stream(seed, purpose, position).standard_normal(shape, np.float32)
