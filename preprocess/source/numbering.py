"""Frame numbers: runs of consecutive ones, and the frames nearest to the moments of another rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

TIE_S = 1e-6
"""Moments that lie as close to the middle between two frames as this belong to the later one."""


def runs(frames: Sequence[int], step: int = 1) -> Iterator[tuple[int, int]]:
    """First and last number of each run of numbers that lie ``step`` apart, in a sorted list."""
    first = previous = frames[0]
    for frame in frames[1:]:
        if frame != previous + step:
            yield first, previous
            first = frame
        previous = frame
    yield first, previous


def nearest(times_s: Sequence[float], rate_hz: float) -> list[int]:
    """Numbers of the frames nearest to the moments 0, 1 / rate, 2 / rate ... after the first frame.

    Args:
        times_s: moment of each frame in seconds, rising.
        rate_hz: frames per second that are wanted; a rate above that of the frames takes some of them twice.

    Returns:
        One number per moment up to the last frame's.
    """
    chosen: list[int] = []
    position = 0
    for moment in range(math.floor((times_s[-1] - times_s[0] + TIE_S) * rate_hz) + 1):
        wanted_s = times_s[0] + moment / rate_hz
        while position + 1 < len(times_s) and 2 * wanted_s > times_s[position] + times_s[position + 1] - TIE_S:
            position += 1
        chosen.append(position)
    return chosen
