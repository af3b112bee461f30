"""Clips read, decoded and resized by worker processes, ahead of whoever takes them. Workers import no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from preprocess.frames import ByteArray, Clip
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.data_config import DataConfig
from vdt_hpc.pool import map_ahead

CLIPS_AHEAD = 2
"""Clips per worker that are being prepared or wait to be taken; it bounds the memory."""


@dataclass(frozen=True)
class Bad:
    """A clip that cannot be read."""

    reason: str


def prepared_ahead(
    pool: Executor, num_workers: int, clips: Iterable[Clip], data: DataConfig
) -> Iterator[ByteArray | Bad]:
    """The clips' frames (T, h, w, 3), in order; where bad clips are to be skipped, what is wrong with one in its place.

    Raises:
        UserError: a clip cannot be read, and bad clips are not to be skipped.
    """
    return map_ahead(pool, partial(_prepare, data=data), clips, ahead=CLIPS_AHEAD * num_workers)


def _prepare(clip: Clip, data: DataConfig) -> ByteArray | Bad:
    try:
        return clip.prepared(data)
    except UserError as error:
        if not data.skip_bad_clips:
            raise
        return Bad(f"clip {clip.clip_id}: {error}")
