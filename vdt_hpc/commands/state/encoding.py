"""How far the latents of a run are, all tasks of the encode together, by the times of the finished shards."""

import itertools
import time
from collections.abc import Sequence
from datetime import datetime

from vdt_hpc.commands.words import span, speed, when
from vdt_hpc.store.encoding import Encoding

RECENT_SHARDS = 40
"""The speed is that of the latest shards: tasks come and go."""
PAUSE = 5
"""A shard that came so many times as long after the last one as any other did was waited for while nobody encoded.
Means would not tell: tasks that started together finish together, and nothing is seen between their rounds."""
COPIED_S = 0.01
"""No shard is encoded in less, but a copy of many may bear the time at which it was made."""
LEAST_SILENCE_S = 60.0
"""Seconds without a finished shard that mean nothing, however short shards are."""


def describe(encoding: Encoding) -> str:
    """Shards, frames per second and the time left: `34 of 80 shards, 61 frames/s, 12 min left`."""
    done, total = len(encoding.finished_s), encoding.num_shards
    counted = f"{done:,} of {total:,} shards"
    if done >= total:
        return f"{counted}, not yet looked at and published"
    if not done:
        return f"{counted}, begun {_moment(encoding.begun_s)}"
    steps_s = _steps((encoding.begun_s, *encoding.finished_s)[-RECENT_SHARDS - 1 :])
    silent_s = time.time() - encoding.finished_s[-1]
    if silent_s > max(LEAST_SILENCE_S, PAUSE * max(steps_s)):
        return f"{counted}, no shard finished since {_moment(encoding.finished_s[-1])}"
    shard_s = sum(steps_s) / len(steps_s)
    if shard_s < COPIED_S:
        return counted
    frames_per_s = encoding.num_frames / total / shard_s
    return f"{counted}, {speed(frames_per_s)} frames/s, {span((total - done) * shard_s)} left"


def _steps(moments: Sequence[float]) -> list[float]:
    """Seconds between moments that follow one another; without the longest where that was a pause.

    The first may be long because all tasks started in it, and stays.
    """
    steps = [max(0.0, later - earlier) for earlier, later in itertools.pairwise(moments)]
    longest = max(steps[1:], default=0.0)
    others = list(steps)
    if longest:
        others.remove(longest)
    return others if longest > max(LEAST_SILENCE_S, PAUSE * max(others)) else steps


def _moment(seconds: float) -> str:
    return when(datetime.fromtimestamp(seconds).astimezone())
