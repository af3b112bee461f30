"""A split's latents while training: held in memory, or read clip by clip. Both give the same bytes.

Legend: T frames, C latent channels, h x w latent cells; flip 0 is the clip as filmed, 1 its mirror.
"""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from vdt_hpc.store.latents import LatentSplit

HalfArray = npt.NDArray[np.float16]
Shape = tuple[int, int, int, int, int, int]
"""(clips, flips, T, C, h, w)"""


class Moments(ABC):
    """Means and standard deviations of the first clips of a split; safe to read from several threads.

    Args:
        shape: (clips, flips, T, C, h, w) of the means, which is also that of the standard deviations.
        scaling_factor: what the model's latents are multiplied by; windows are not scaled.
    """

    def __init__(self, shape: Shape, scaling_factor: float) -> None:
        self.num_clips, self.num_flips, self.clip_frames, *frame = shape
        self.frame_shape = tuple(frame)
        """(C, h, w)"""
        self.scaling_factor = scaling_factor

    def __len__(self) -> int:
        return self.num_clips

    @abstractmethod
    def window(self, clip: int, flip: int, frames: slice) -> tuple[HalfArray, HalfArray]:
        """Mean and standard deviation of some frames of a clip, each (T, C, h, w) float16; not to be written to.

        Raises:
            UserError: the shard cannot be read.
        """


class InMemory(Moments):
    """Windows are views of two arrays.

    Args:
        mean, std: (clips, flips, T, C, h, w) float16; several processes may share their memory.
        scaling_factor: as for every form.
    """

    def __init__(self, mean: HalfArray, std: HalfArray, scaling_factor: float) -> None:
        clips, flips, T, C, h, w = mean.shape
        super().__init__((clips, flips, T, C, h, w), scaling_factor)
        self.mean, self.std = mean, std

    def window(self, clip: int, flip: int, frames: slice) -> tuple[HalfArray, HalfArray]:
        """As for every form."""
        return self.mean[clip, flip, frames], self.std[clip, flip, frames]


class ByClip(Moments):
    """Each window is read from its shard.

    Args:
        clips: the split, opened by this process for this object alone.
        shape: as for every form; known beforehand, so that nothing is opened before the first window.
        scaling_factor: as for every form.
    """

    def __init__(self, clips: LatentSplit, shape: Shape, scaling_factor: float) -> None:
        super().__init__(shape, scaling_factor)
        self._clips = clips

    def window(self, clip: int, flip: int, frames: slice) -> tuple[HalfArray, HalfArray]:
        """As for every form."""
        return self._clips.moments(clip, flip, frames)
