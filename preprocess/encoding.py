"""Shards encoded one after the other: worker processes prepare the clips, this one encodes, a thread writes.

Each is ahead of the next by a bounded number of clips or by one shard, so that memory does not grow with the data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from preprocess.preparing import Bad, prepared_ahead
from preprocess.shards import ShardInProgress, ShardPlan
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.pool import worker_processes
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import StopFlag
from vdt_hpc.store import latents
from vdt_hpc.store.latents import ShardContent

if TYPE_CHECKING:
    from preprocess.ceiling import Ceiling
    from preprocess.frames import ByteArray
    from vdt_hpc.model.autoencoder import Autoencoder


@dataclass(frozen=True)
class Coder:
    """What encodes, and what is measured of it."""

    autoencoder: Autoencoder
    exact: Autoencoder | None
    """In fp32, where the other is not."""
    ceiling: Ceiling


def encode_shards(
    config: RunConfig,
    plans: Sequence[ShardPlan],
    coder: Coder,
    num_workers: int,
    progress: Progress,
    stop: StopFlag,
) -> None:
    """Encode and write shards that are not there yet.

    Raises:
        Stopped: by a signal; what was finished stays.
        UserError: a clip cannot be read, latents are not finite, the disk is full.
    """
    if not plans:
        return
    clips = [clip for plan in plans for clip in plan.clips]
    with worker_processes(min(num_workers, len(clips))) as workers, ThreadPoolExecutor(1) as writer:
        prepared = prepared_ahead(workers, num_workers, clips, config.data)
        writing: Future[None] | None = None
        try:
            for plan in plans:
                content = _encode(plan, prepared, config, coder, progress, stop)
                if writing is not None:
                    writing.result()
                writing = writer.submit(latents.write_shard, plan.path, content)
        finally:
            if writing is not None:
                writing.result()


def _encode(
    plan: ShardPlan,
    prepared: Iterator[ByteArray | Bad],
    config: RunConfig,
    coder: Coder,
    progress: Progress,
    stop: StopFlag,
) -> ShardContent:
    """The content of one shard."""
    shard = ShardInProgress(plan.split, config, coder.ceiling, coder.exact)
    for clip in plan.clips:
        stop.check()
        frames = next(prepared)
        if isinstance(frames, Bad):
            print(f"left out: {frames.reason}", flush=True)
            shard.leave_out(frames.reason)
        else:
            shard.add(clip, frames, coder.autoencoder)
        progress.advance(clip.num_frames)
    return shard.content()
