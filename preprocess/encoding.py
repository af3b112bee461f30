"""Shards encoded one after the other: worker processes prepare the clips, this one encodes, a thread writes.

Each is ahead of the next by a bounded number of clips or by one shard, so that memory does not grow with the data set.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.claim import Claim
from preprocess.preparing import Bad, prepared_ahead
from preprocess.shards import ShardInProgress, ShardPlan
from vdt_hpc import exclusive
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.pool import worker_processes
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import StopFlag
from vdt_hpc.store import latents
from vdt_hpc.store.latents import ShardContent

if TYPE_CHECKING:
    from preprocess.ceiling import Ceiling
    from preprocess.frames import ByteArray, Clip
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
    claim: Claim,
) -> None:
    """Encode and write shards that are not there yet; those that come meanwhile, by another run's task, stay.

    Raises:
        Stopped: by a signal; what was finished stays.
        UserError: a clip cannot be read, latents are not finite, the disk is full, or the folder's shards are made
            from something else by now.
    """
    if not plans:
        return
    num_clips = sum(len(plan.clips) for plan in plans)
    with worker_processes(min(num_workers, num_clips)) as workers, ThreadPoolExecutor(1) as writer:
        sent, kept = itertools.tee(_clips_to_encode(plans, progress))
        prepared = prepared_ahead(workers, num_workers, (clip for _, clip in sent), config.data)
        writing: Future[None] | None = None
        try:
            for plan, own in itertools.groupby(kept, key=lambda pair: pair[0]):
                # The clips first: nothing is asked of the next shard's frames before this one is on its way.
                clips = zip((clip for _, clip in own), prepared, strict=False)
                content = _encode(plan, clips, config, coder, progress, stop)
                if writing is not None:
                    writing.result()
                writing = writer.submit(_write, plan.path, content, claim)
        finally:
            if writing is not None:
                writing.result()


def _clips_to_encode(plans: Sequence[ShardPlan], progress: Progress) -> Iterator[tuple[ShardPlan, Clip]]:
    """The clips of shards that are not there at the moment when their first clip is about to be read."""
    for plan in plans:
        if plan.path.exists():
            progress.advance(plan.num_frames)
        else:
            yield from ((plan, clip) for clip in plan.clips)


def _encode(
    plan: ShardPlan,
    clips: Iterable[tuple[Clip, ByteArray | Bad]],
    config: RunConfig,
    coder: Coder,
    progress: Progress,
    stop: StopFlag,
) -> ShardContent:
    """The content of one shard."""
    shard = ShardInProgress(plan.split, config, coder.ceiling, coder.exact)
    for clip, frames in clips:
        stop.check()
        if isinstance(frames, Bad):
            print(f"left out: {frames.reason}", flush=True)
            shard.leave_out(frames.reason)
        else:
            shard.add(clip, frames, coder.autoencoder)
        progress.advance(clip.num_frames)
    return shard.content()


def _write(path: Path, content: ShardContent, claim: Claim) -> None:
    """Write a shard, unless a task of another run has written it meanwhile."""
    claim.require()
    latents.write_shard(path, content, exclusive.finish)
