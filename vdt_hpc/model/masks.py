"""The tasks as masks: the one place that says what a mask means. 1 = generate, 0 = given.

VDT's own code agrees; equation 3 of its paper (arXiv 2305.13311) has M the other way round.

Legend: B clips, T frames, h x w latent cells. The mask of a clip is (T,), one value per frame, or (T, 1, h, w) where it
varies over space; everything that uses masks takes them as (B, T, 1, h or 1, w or 1).
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from vdt_hpc.experiment.sample_config import SampleConfig
from vdt_hpc.experiment.tasks_config import TaskName
from vdt_hpc.model import rectangles
from vdt_hpc.model.noise import stream

Mask = npt.NDArray[np.float32]
Cells = tuple[int, int]
"""(h, w) of a latent."""

GENERATE, GIVEN = 1.0, 0.0

TASK_NUMBERS: dict[TaskName, int] = {
    "prediction": 0, "unconditional": 3, "backward": 1, "image_to_video": 4, "interpolation": 2, "completion": 6,
}  # fmt: skip
"""Numbers of the tasks, as VDT numbers them; part of what keys the noise of samples."""

EVERY_MAX_FRAMES = 8
"""Training draws the distance of regularly given frames from 2 up to this."""
GENERATED_SHARE = 0.8
"""Probability that a frame is generated where given frames are drawn one by one."""
MARGIN_MAX_FRAMES = 3
"""Completion: most frames before its span, and most after it."""
SAMPLED_BLOCKS = 32
"""Purpose of the stream that draws the blocks of sampled completions; those of examples and of noise have others."""


def prediction(num_frames: int, given: int) -> Mask:
    """Mask (T,) of prediction: the first frames are given, the rest is generated."""
    return of_frames(num_frames, range(given))


def backward(num_frames: int, given: int) -> Mask:
    """Mask (T,) of backward prediction: the last frames are given, the rest is generated."""
    return of_frames(num_frames, range(num_frames - given, num_frames))


def image_to_video(num_frames: int, index: int) -> Mask:
    """Mask (T,) of image-to-video: one frame is given, the rest is generated."""
    return of_frames(num_frames, (index,))


def interpolation(num_frames: int, every: int, offset: int = 0) -> Mask:
    """Mask (T,) of regular interpolation: frames `offset`, `offset + every`, ... are given."""
    assert 0 <= offset < every, (offset, every)
    return of_frames(num_frames, range(offset, num_frames, every))


def unconditional(num_frames: int) -> Mask:
    """Mask (T,) of unconditional generation: no frame is given."""
    return checked(np.full(num_frames, GENERATE, np.float32))


def completion(covered: npt.NDArray[np.bool_], num_frames: int, start: int, end: int) -> Mask:
    """Mask (T, 1, h, w) of spatial-temporal completion: some cells are generated over a span of frames.

    Args:
        covered: (h, w), True for the cells that are generated in every frame of the span.
        num_frames: T.
        start, end: frames before the span and after it, wholly given.
    """
    assert 0 <= start < num_frames - end <= num_frames, (start, end, num_frames)
    mask = np.full((num_frames, 1, *covered.shape), GIVEN, np.float32)
    mask[start : num_frames - end, 0, covered] = GENERATE
    return with_given(mask)


def of_frames(num_frames: int, given: Iterable[int]) -> Mask:
    """Mask (T,) with the frames of some indices given, at least one and not all."""
    indices = list(given)
    assert all(0 <= index < num_frames for index in indices), (indices, num_frames)
    mask = np.full(num_frames, GENERATE, np.float32)
    mask[indices] = GIVEN
    return with_given(mask)


def for_training(
    task: TaskName, rng: np.random.Generator, num_frames: int, cells: Cells, given_frames: int = 0
) -> Mask:
    """The mask of a training example, (T,), or (T, 1, h, w) for completion.

    Interpolation is given frames at a regular distance of 2 to `EVERY_MAX_FRAMES`, from any offset, or, as often, one
    by one with probability 1 - `GENERATED_SHARE`. Completion generates half of the cells (see `rectangles`) over a span
    that leaves out up to `MARGIN_MAX_FRAMES` frames at either end. Whatever is drawn leaves something given and
    something to generate, but for unconditional generation, which is given nothing.

    Args:
        task: the task.
        rng: the example's own stream of its mask.
        num_frames: T, at least 2.
        cells: (h, w) of the latent.
        given_frames: given frames of a prediction or a backward prediction.
    """
    if task == "prediction":
        return prediction(num_frames, given_frames)
    if task == "backward":
        return backward(num_frames, given_frames)
    if task == "image_to_video":
        return image_to_video(num_frames, int(rng.integers(num_frames)))
    if task == "interpolation":
        return _drawn_interpolation(rng, num_frames)
    if task == "completion":
        margin = min(MARGIN_MAX_FRAMES, (num_frames - 1) // 2)
        start, end = (int(frames) for frames in rng.integers(margin + 1, size=2))
        return completion(rectangles.half(rng, cells), num_frames, start, end)
    return unconditional(num_frames)


def _drawn_interpolation(rng: np.random.Generator, num_frames: int) -> Mask:
    if rng.random() < 0.5:
        every = int(rng.integers(2, min(EVERY_MAX_FRAMES, num_frames) + 1))
        return interpolation(num_frames, every, int(rng.integers(every)))
    while True:  # again where all frames came out alike, so that the law is the stated one, given that they do not
        is_given = rng.random(num_frames) >= GENERATED_SHARE
        if is_given.any() and not is_given.all():
            return of_frames(num_frames, np.flatnonzero(is_given).tolist())


def for_sampling(task: TaskName, sample: SampleConfig, num_frames: int, cells: Cells, clip: int) -> Mask:
    """The mask of a sample, (T,), or (T, 1, h, w) for completion.

    Its wholly given frames are `sample.given(task, num_frames)`: of a completion the first and the last. The blocks
    between them depend on (sample.seed, clip) alone, so that all trajectories and checkpoints complete the same.

    Args:
        task: the task.
        sample: what is generated; its given frames and its seed matter here.
        num_frames: T.
        cells: (h, w) of the latent.
        clip: index of the clip in its split.
    """
    if task == "completion":
        covered = rectangles.half(stream(sample.seed, SAMPLED_BLOCKS, clip), cells)
        return completion(covered, num_frames, start=1, end=1)
    given = sample.given(task, num_frames)
    return of_frames(num_frames, given) if given else unconditional(num_frames)


def checked(mask: Mask) -> Mask:
    """The mask itself, after asserting that it holds only 0 and 1 and leaves something to generate."""
    assert mask.dtype == np.float32 and mask.ndim in (1, 4), (mask.dtype, mask.shape)
    assert np.isin(mask, (GIVEN, GENERATE)).all(), "a mask holds 0 (given) and 1 (generate) only"
    assert (mask == GENERATE).any(), "a mask must leave something to generate"
    return mask


def with_given(mask: Mask) -> Mask:
    """As `checked`, and something is given: of every task but unconditional generation."""
    assert (mask == GIVEN).any(), "the mask of a conditional task must leave something given"
    return checked(mask)


def of_latent(mask: Mask) -> Mask:
    """A clip's mask as it broadcasts over its latent: (T,) or (T, 1, h, w) -> (T, 1, h or 1, w or 1)."""
    return mask[:, None, None, None] if mask.ndim == 1 else mask


def batch(masks: Sequence[Mask]) -> torch.Tensor:
    """Stack the masks of a batch: (T,) or (T, 1, h, w) each -> (B, T, 1, h or 1, w or 1) float32.

    Those that are the same all over a frame are spread over its cells where another of the batch is not.
    """
    return torch.from_numpy(np.stack(np.broadcast_arrays(*map(of_latent, masks))))


def mix(given: torch.Tensor, generated: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`generated` where the mask says generate, `given` elsewhere, exactly (no arithmetic touches the values).

    Args:
        given, generated: (B, T, C, h, w).
        mask: (B, T, 1, h or 1, w or 1).
    """
    return torch.where(mask == GENERATE, generated, given)
