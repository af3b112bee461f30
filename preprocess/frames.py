"""A clip of frames on the way to the autoencoder.

Legend: T frames, H x W pixels as filmed, h x w pixels of the frame that is encoded. Always RGB uint8.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from preprocess.geometry import prepare
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import Split
from vdt_hpc.experiment.data_config import DataConfig

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Clip(ABC):
    """A run of frames, not yet read; it can be sent to another process."""

    clip_id: str
    """Unique name within the data set."""
    split: Split
    num_frames: int

    @property
    @abstractmethod
    def group(self) -> str:
        """What a report counts clips by: a city, or a film."""

    @abstractmethod
    def images(self) -> Iterator[ByteArray]:
        """The frames one by one, each (H, W, 3).

        Raises:
            UserError: a frame cannot be read, or there are fewer than ``num_frames``.
        """

    def read(self) -> ByteArray:
        """All frames as filmed: (T, H, W, 3)."""
        return np.stack(list(self._whole()))

    def prepared(self, data: DataConfig) -> ByteArray:
        """All frames as the autoencoder sees them: (T, h, w, 3). Holds one frame as filmed at a time."""
        return np.stack([prepare(image, data) for image in self._whole()])

    def _whole(self) -> Iterator[ByteArray]:
        """The frames, which must be as many as they should be, and of one size."""
        count, shape = 0, None
        # A generator over a video is closed at once, not when the garbage collector comes by.
        with closing(self.images()) as images:  # type: ignore[type-var]
            for image in images:
                if shape is not None and image.shape != shape:
                    sizes = sorted({shape[:2], image.shape[:2]})
                    raise UserError(f"clip {self.clip_id} has frames of different sizes {sizes}; mend its source")
                count, shape = count + 1, image.shape
                yield image
        if count != self.num_frames:
            raise UserError(f"clip {self.clip_id} has {count} frames instead of {self.num_frames}; mend its source")
