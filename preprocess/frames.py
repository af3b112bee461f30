"""A clip of frames and its geometry on the way to the autoencoder.

Legend: T frames, H x W pixels as filmed, S pixels of the square that is encoded. Always RGB uint8.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import Split

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Clip(ABC):
    """A run of consecutive frames, not yet read."""

    clip_id: str
    """Unique name within the data set."""
    split: Split
    num_frames: int

    @abstractmethod
    def images(self) -> Iterator[ByteArray]:
        """The frames one by one, each (H, W, 3).

        Raises:
            UserError: a frame cannot be read, or there are fewer than ``num_frames``.
        """

    def read(self) -> ByteArray:
        """All frames as filmed: (T, H, W, 3)."""
        return self._stack(list(self._all_images()))

    def squares(self, frame_height_px: int) -> ByteArray:
        """All frames as the autoencoder sees them: (T, S, S, 3). Holds one frame as filmed at a time."""
        return self._stack([centre_square(image, frame_height_px) for image in self._all_images()])

    def _all_images(self) -> Iterator[ByteArray]:
        count = 0
        # A generator over a video is closed at once, not when the garbage collector comes by.
        with closing(self.images()) as images:  # type: ignore[type-var]
            for image in images:
                count += 1
                yield image
        if count != self.num_frames:
            raise UserError(f"clip {self.clip_id} has {count} frames instead of {self.num_frames}; mend its source")

    def _stack(self, images: list[ByteArray]) -> ByteArray:
        shapes = {image.shape for image in images}
        if len(shapes) != 1:
            raise UserError(f"clip {self.clip_id} has frames of different sizes {sorted(shapes)}; mend its source")
        return np.stack(images)


def centre_square(image: ByteArray, frame_height_px: int) -> ByteArray:
    """Cut the centre square out of a frame (H, W, 3) and resize it to (S, S, 3) with Pillow's Lanczos filter.

    MCVD prepares Cityscapes the same way (1024 x 1024 out of 2048 x 1024, then Lanczos to 128).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a frame must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    height_px, width_px = image.shape[:2]
    side_px = min(height_px, width_px)
    top, left = (height_px - side_px) // 2, (width_px - side_px) // 2
    square = Image.fromarray(np.ascontiguousarray(image[top : top + side_px, left : left + side_px]))
    if side_px != frame_height_px:
        square = square.resize((frame_height_px, frame_height_px), Image.Resampling.LANCZOS)
    return np.asarray(square)
