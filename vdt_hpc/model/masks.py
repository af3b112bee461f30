"""The tasks as masks: the one place that says what a mask means. 1 = generate, 0 = given.

VDT's own code agrees; equation 3 of its paper (arXiv 2305.13311) has M the other way round.

Legend: B clips, T frames, h x w latent cells. A mask is (T,) here, one value per frame; everything that uses masks
takes them as (B, T, 1, h or 1, w or 1), so that a mask may also vary over space.
"""

import numpy as np
import numpy.typing as npt
import torch

from vdt_hpc.experiment.config import TaskName

Mask = npt.NDArray[np.float32]

GENERATE, GIVEN = 1.0, 0.0

TASK_NUMBERS: dict[TaskName, int] = {"prediction": 0, "unconditional": 3}
"""Numbers of the tasks, as VDT numbers them; part of what keys the noise of samples."""


def prediction(num_frames: int, given_frames: int) -> Mask:
    """Mask (T,) of prediction: the first frames are given, the rest is generated."""
    assert 0 < given_frames < num_frames, (given_frames, num_frames)
    mask = np.full(num_frames, GENERATE, np.float32)
    mask[:given_frames] = GIVEN
    return checked(mask)


def unconditional(num_frames: int) -> Mask:
    """Mask (T,) of unconditional generation: no frame is given."""
    return checked(np.full(num_frames, GENERATE, np.float32))


def for_task(task: TaskName, num_frames: int, given_frames: int) -> Mask:
    """Mask (T,) of a task; `given_frames` must be 0 for unconditional generation."""
    if task == "unconditional":
        assert given_frames == 0, given_frames
        return unconditional(num_frames)
    return prediction(num_frames, given_frames)


def checked(mask: Mask) -> Mask:
    """The mask itself, after asserting that it holds only 0 and 1 and leaves something to generate."""
    assert mask.dtype == np.float32 and mask.ndim in (1, 4), (mask.dtype, mask.shape)
    assert np.isin(mask, (GIVEN, GENERATE)).all(), "a mask holds 0 (given) and 1 (generate) only"
    assert (mask == GENERATE).any(), "a mask must leave something to generate"
    return mask


def batch(masks: list[Mask]) -> torch.Tensor:
    """Stack the masks of a batch: (T,) or (T, 1, h, w) each -> (B, T, 1, h or 1, w or 1) float32."""
    stacked = torch.from_numpy(np.stack(masks))
    return stacked[:, :, None, None, None] if stacked.ndim == 2 else stacked


def mix(given: torch.Tensor, generated: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`generated` where the mask says generate, `given` elsewhere, exactly (no arithmetic touches the values).

    Args:
        given, generated: (B, T, C, h, w).
        mask: (B, T, 1, h or 1, w or 1).
    """
    return torch.where(mask == GENERATE, generated, given)
