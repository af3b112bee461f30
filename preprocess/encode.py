"""Stage `encode`: frames become latents.

    frames -> <latents>/train-00000.h5 ... manifest.json (see `vdt_hpc.store.latents`)

Shards belong to the job's tasks by number, and each is finished by rename; a task that was stopped goes on at its next
shard. `encoding.json`, written first, holds what the shards are made from, so that an encode never goes on with other
frames or another autoencoder. The task that finds every shard present writes the manifest.

Legend: T frames, S pixels of a square frame, C latent channels, h x w latent cells; flip 0 as filmed, 1 mirrored.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from preprocess.frames import ByteArray
from preprocess.pool import map_ahead
from preprocess.shards import ShardPlan, encode_clip, plan_shards
from preprocess.sources import Source, open_source, source_fingerprint
from vdt_hpc import dist, files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.signature import latents_signature
from vdt_hpc.experiment.size import MEASURED_SPLITS
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.experiment.weights import AUTOENCODER_WEIGHTS, autoencoder_folder
from vdt_hpc.model import autoencoder as autoencoders
from vdt_hpc.progress import Progress
from vdt_hpc.store import latents
from vdt_hpc.store import manifest as manifests
from vdt_hpc.store.manifest import Manifest

if TYPE_CHECKING:
    from vdt_hpc.model.autoencoder import Autoencoder

STARTED = "encoding.json"
_MOST_LINES_SHOWN = 20


class _Stopped(Exception):
    """A signal asked for the end; the shard at hand is given up."""


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Encode this task's share of the shards that are not there yet.

    Raises:
        UserError: no frames, faults in the frames, no autoencoder, latents made from something else, a full disk.
    """
    paths = paths_for(config, partition)
    outputs = {"latents": str(paths.latents)}
    manifest = manifests.read_manifest(paths.latents)
    if manifest is not None:
        _refuse_another(config, paths, manifest)
        num_clips = sum(shard.num_clips for shard in manifest.shards)
        return StageResult(f"encode: nothing to do, {num_clips:,} clips in {paths.latents}", outputs=outputs)
    source = open_source(config, paths.frames)
    task = dist.current_task()
    if task.rank == 0:
        _tell_left_out(source.left_out)
    plans = plan_shards(source, paths.latents, config.autoencoder.clips_per_shard)
    stop = dist.StopFlag().install()
    identity = _encode_share(config, source, plans, paths.latents, task, stop)
    if identity is None:
        return StageResult(f"encode: stopped by {stop.reason}", complete=False, outputs=outputs)
    if not all(plan.path.exists() for plan in plans):
        return StageResult("encode: other tasks are still at work", outputs=outputs)
    _write_manifest(config, source, plans, paths.latents, identity)
    return StageResult(f"encode: {len(source.clips):,} clips in {paths.latents}", outputs=outputs)


def _refuse_another(config: RunConfig, paths: RunPaths, manifest: Manifest) -> None:
    """Make sure that finished latents are those of the frames and the autoencoder that lie here now.

    Frames or autoencoder that are no longer here are no fault: latents are enough to train on.
    """
    folder = autoencoder_folder(config.autoencoder)
    weights = folder / AUTOENCODER_WEIGHTS if folder else None
    fingerprint = source_fingerprint(config, paths.frames)
    remedy = f"remove {paths.latents} to encode again"
    if manifest.signature != latents_signature(config):
        raise UserError(f"the latents in {paths.latents} belong to another recipe; {remedy}")
    if fingerprint is not None and fingerprint != manifest.source_fingerprint:
        raise UserError(f"the frames in {paths.frames} are not those that the latents were made from; {remedy}")
    if weights and weights.is_file() and files.sha256(weights) != manifest.autoencoder["sha256"]:
        raise UserError(f"the autoencoder {folder} is not the one that the latents were made with; {remedy}")


def _tell_left_out(left_out: tuple[str, ...]) -> None:
    for line in left_out[:_MOST_LINES_SHOWN]:
        print(f"left out: {line}", flush=True)
    if len(left_out) > _MOST_LINES_SHOWN:
        print(f"left out: {len(left_out) - _MOST_LINES_SHOWN} more; the manifest lists all", flush=True)


def _encode_share(
    config: RunConfig, source: Source, plans: list[ShardPlan], folder: Path, task: dist.Task, stop: dist.StopFlag
) -> dict[str, Any] | None:
    """Write this task's missing shards; returns the autoencoder's identity, or None if a signal came first."""
    import torch

    torch.set_num_threads(dist.cpus_of_task(task))
    autoencoder = autoencoders.load(config.autoencoder, dist.device_of(task))
    identity: dict[str, Any] = dict(autoencoder.identity())
    _claim(folder, config, source, identity)
    mine = [plans[index] for index in task.share(len(plans))]
    missing = [plan for plan in mine if not plan.path.exists()]
    total = sum(len(plan.clips) for plan in mine)
    done = total - sum(len(plan.clips) for plan in missing)
    try:
        with Progress("encode", total, "clips", done=done) as progress:
            squares = _squares_ahead(missing, config.data.frame_height_px, dist.cpus_of_task(task))
            for plan in missing:
                _encode_shard(plan, squares, autoencoder, config, progress, stop)
    except _Stopped:
        return None
    return identity


def _claim(folder: Path, config: RunConfig, source: Source, identity: dict[str, Any]) -> None:
    """Write down what the shards are made from, or make sure that it is what earlier shards were made from."""
    made_from = {
        "signature": latents_signature(config),
        "source_fingerprint": source.fingerprint,
        "autoencoder": identity,
    }
    path = folder / STARTED
    if not path.exists():
        files.write_json(path, made_from)
    if files.read_json(path) != made_from:
        raise UserError(
            f"{folder} holds unfinished latents of other frames or another autoencoder; remove it and encode again"
        )


def _squares_ahead(plans: list[ShardPlan], frame_height_px: int, num_threads: int) -> Iterator[ByteArray]:
    """The clips' frames (T, S, S, 3), read and resized ahead of the encoder (Pillow and FFmpeg release the lock)."""
    clips = [clip for plan in plans for clip in plan.clips]
    with ThreadPoolExecutor(num_threads) as pool:
        yield from map_ahead(pool, lambda clip: clip.squares(frame_height_px), clips, ahead=2 * num_threads)


def _encode_shard(
    plan: ShardPlan,
    squares: Iterator[ByteArray],
    autoencoder: Autoencoder,
    config: RunConfig,
    progress: Progress,
    stop: dist.StopFlag,
) -> None:
    """Encode the clips of one shard, in order, and write it."""
    means, deviations, frames = [], [], []
    for clip in plan.clips:
        if stop:
            raise _Stopped
        pixels = next(squares)
        mean, deviation = encode_clip(autoencoder, pixels, config)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            raise UserError(f"the autoencoder {autoencoder.source} gives no finite latents for clip {clip.clip_id}")
        means.append(mean)
        deviations.append(deviation)
        if plan.split in MEASURED_SPLITS:
            frames.append(pixels)
        progress.advance()
    clip_ids = [clip.clip_id for clip in plan.clips]
    kept = np.stack(frames) if frames else None
    latents.write_shard(plan.path, np.stack(means), np.stack(deviations), clip_ids, kept)


def _write_manifest(
    config: RunConfig, source: Source, plans: list[ShardPlan], folder: Path, identity: dict[str, Any]
) -> None:
    """Describe the finished shards; from now on the latents exist."""
    for leftover in folder.glob(".*.h5.*.tmp"):  # of encodes that were killed
        leftover.unlink(missing_ok=True)
    recipe = {name: getattr(config, name).model_dump() for name in ("data", "autoencoder")}
    manifest = Manifest(
        dataset=config.data.dataset,
        signature=latents_signature(config),
        source_fingerprint=source.fingerprint,
        recipe=recipe,
        autoencoder=identity,
        left_out=source.left_out,
        shards=tuple(latents.describe_shard(plan.path, plan.split) for plan in plans),
    )
    manifests.write_manifest(folder, manifest)
