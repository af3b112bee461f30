"""The one boundary that pixels cross into metrics: 8-bit RGB, checked, whatever they came as.

Legend: T frames, H x W pixels; the last axis is red, green, blue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pixels:
    """Pixels that a metric may trust: (..., H, W, 3) uint8 in [0, 255].

    Raises:
        ValueError: the array has another dtype or shape. `Pixels.of` also takes floats.
    """

    values: ByteArray

    def __post_init__(self) -> None:
        if self.values.dtype != np.uint8:
            raise ValueError(f"pixels are {self.values.dtype}; expected uint8")
        _check_shape(self.values, "pixels")

    @classmethod
    def of(cls, array: Any, name: str = "pixels") -> "Pixels":
        """Check an array and bring it to 8 bits.

        Every metric sees 8-bit pixels, so that true and generated frames have passed the same quantiser.

        Args:
            array: (..., H, W, 3), uint8, or a float in [0, 1] (rounded to the nearest of 256 levels).
            name: what the array is, for the complaint.

        Raises:
            ValueError: another dtype or shape, a value that is not finite, or one outside [0, 1].
        """
        values = np.asarray(array)
        _check_shape(values, name)
        if values.dtype == np.uint8:
            return cls(values)
        if not np.issubdtype(values.dtype, np.floating):
            raise ValueError(f"{name} are {values.dtype}; expected uint8, or floats in [0, 1]")
        num_not_finite = int(np.count_nonzero(~np.isfinite(values)))
        if num_not_finite:
            raise ValueError(f"{name} hold {num_not_finite} values that are NaN or infinite; expected [0, 1]")
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        if low < 0 or high > 1:
            raise ValueError(f"{name} lie in [{low:g}, {high:g}]; expected floats in [0, 1] (or uint8)")
        return cls(np.rint(values * 255.0).astype(np.uint8))

    @property
    def num_frames(self) -> int:
        """T of (T, H, W, 3)."""
        return len(self.values)

    def frames(self, indices: Sequence[int]) -> "Pixels":
        """Some of a clip's frames: (T, H, W, 3) -> (as many as indices, H, W, 3)."""
        return Pixels(self.values[list(indices)])


def check_pair(one: Pixels, other: Pixels) -> None:
    """Raise ValueError unless two clips have one shape (T, H, W, 3), with at least one frame."""
    if one.values.shape != other.values.shape:
        raise ValueError(f"clips of shapes {one.values.shape} and {other.values.shape} cannot be compared")
    if one.values.ndim != 4 or not len(one.values):
        raise ValueError(f"expected clips (T, H, W, 3) with T > 0, got {one.values.shape}")


def check_size(clip: Pixels, min_side_px: int) -> None:
    """Raise ValueError where a clip's frames (T, H, W, 3) are smaller than that."""
    height_px, width_px = clip.values.shape[1:3]
    if min(height_px, width_px) < min_side_px:
        raise ValueError(f"frames of {height_px} x {width_px} px; expected at least {min_side_px} px a side")


def _check_shape(values: npt.NDArray[Any], name: str) -> None:
    if values.ndim < 3 or values.shape[-1] != 3 or 0 in values.shape[-3:]:
        raise ValueError(f"{name} have shape {values.shape}; expected (..., H, W, 3)")
