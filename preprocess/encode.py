"""Stage `encode`: frames become latents.

    frames -> <latents>/train-00000.h5 ... manifest.json (see `vdt_hpc.store.latents`)

Shards belong to the job's tasks by number, and each is finished by rename; a task that was stopped goes on at its next
shard. `encoding.json`, written first, holds what the shards are made from, so that an encode never goes on with other
frames or another autoencoder. The task that finds every shard present looks at all of them and writes the manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from preprocess import encode_plan
from preprocess.ceiling import METRICS, Ceiling
from preprocess.claim import Claim
from preprocess.encoding import Coder, encode_shards
from preprocess.publish import publish
from preprocess.shards import ShardPlan, plan_shards
from preprocess.source.index import Index
from preprocess.source.opening import open_index, source_fingerprint, write_report
from preprocess.source.report import require_clips
from vdt_hpc import dist, files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.experiment.weights import AUTOENCODER_WEIGHTS, autoencoder_folder
from vdt_hpc.model import autoencoder as autoencoders
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import StopFlag, Stopped
from vdt_hpc.store import manifest as manifests
from vdt_hpc.store.encoding import note_latents
from vdt_hpc.store.manifest import Manifest

_MOST_LINES_SHOWN = 20


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Encode this task's share of the shards that are not there yet.

    Raises:
        UserError: no frames, faults in the frames, no autoencoder, latents made from something else, a full disk.
    """
    paths = paths_for(config, partition)
    outputs = {"latents": str(paths.latents)}
    manifest = manifests.read_manifest(paths.latents)
    if manifest is not None:
        _refuse_another(config, paths, manifest, source_fingerprint(config, paths), _sha256_of_autoencoder(config))
        num_clips = sum(shard.num_clips for shard in manifest.shards)
        return StageResult(f"encode: nothing to do, {num_clips:,} clips in {paths.latents}", outputs=outputs)
    note_latents(paths)
    index = open_index(config, paths)
    require_clips(index, paths.frames, write_report(config, index, paths), config.data.skip_bad_clips)
    task = dist.current_task()
    if task.rank == 0:
        _tell_left_out(index.not_used)
    plans = plan_shards(index, paths.latents, config.autoencoder.clips_per_shard)
    stop = StopFlag().install()
    claim = _encode_share(config, index, plans, paths.latents, task, stop)
    if claim is None:
        return StageResult(f"encode: stopped by {stop.reason}", complete=False, outputs=outputs)
    if missing := sum(not plan.path.exists() for plan in plans):
        return StageResult(f"encode: {missing:,} of {len(plans):,} shards are still with other tasks", outputs=outputs)
    manifest = manifests.read_manifest(paths.latents) or publish(config, index, plans, claim)
    _refuse_another(config, paths, manifest, index.fingerprint, claim.made_from["autoencoder"]["sha256"])
    return StageResult(f"encode: {_summary(manifest)} in {paths.latents}", outputs=outputs)


def _refuse_another(
    config: RunConfig, paths: RunPaths, manifest: Manifest, fingerprint: str | None, sha256: str | None
) -> None:
    """Make sure that finished latents are those of the frames (by fingerprint) and autoencoder (by SHA-256) given.

    None: they are no longer here, which is no fault. Latents are enough to train on.
    """
    remedy = f"remove {paths.latents} to encode again"
    manifests.refuse_another_recipe(config, paths.latents, manifest)
    if fingerprint not in (None, manifest.source_fingerprint):
        raise UserError(f"the frames in {paths.frames} are not those that the latents were made from; {remedy}")
    if sha256 not in (None, manifest.autoencoder["sha256"]):
        raise UserError(
            f"the autoencoder {config.autoencoder.source} is not the one that the latents were made with; {remedy}"
        )


def _sha256_of_autoencoder(config: RunConfig) -> str | None:
    """SHA-256 of the autoencoder's weights, or None where they are not a folder's or not here."""
    folder = autoencoder_folder(config.autoencoder)
    weights = folder / AUTOENCODER_WEIGHTS if folder else None
    return files.sha256(weights) if weights and weights.is_file() else None


def _tell_left_out(lines: Sequence[str]) -> None:
    for line in lines[:_MOST_LINES_SHOWN]:
        print(f"left out: {line}", flush=True)
    if len(lines) > _MOST_LINES_SHOWN:
        print(f"left out: {len(lines) - _MOST_LINES_SHOWN} more; the manifest lists all", flush=True)


def _encode_share(
    config: RunConfig, index: Index, plans: list[ShardPlan], folder: Path, task: dist.Task, stop: StopFlag
) -> Claim | None:
    """Write this task's missing shards; returns what they are made from, or None if a signal came first."""
    import torch

    num_workers = dist.cpus_of_task(task)
    torch.set_num_threads(num_workers)
    coder = _load_coder(config, task)
    claim = Claim.take(folder, config, index, plans, dict(coder.autoencoder.identity()))
    mine = [plans[number] for number in task.share(len(plans))]
    missing = [plan for plan in mine if not plan.path.exists()]
    _tell_plan(config, index, plans, missing, folder, coder, num_workers, task)
    total = sum(plan.num_frames for plan in mine)
    done = total - sum(plan.num_frames for plan in missing)
    try:
        with Progress("encode", total, "frames", done=done, note=lambda: _of_all_tasks(plans, mine)) as progress:
            encode_shards(config, missing, coder, num_workers, progress, stop, claim)
    except Stopped:
        return None
    return claim


def _load_coder(config: RunConfig, task: dist.Task) -> Coder:
    """The autoencoder in the arithmetic that encodes and, where that is not fp32, in fp32 beside it."""
    precision = config.autoencoder.encode_precision
    autoencoder = autoencoders.load(config.autoencoder, dist.device_of(task), precision=precision)
    exact = autoencoder if precision == "fp32" else autoencoders.load(config.autoencoder, dist.device_of(task))
    ceiling = Ceiling(exact, config)
    if task.rank == 0 and ceiling.missing:
        print(f"ceiling: {ceiling.missing}", flush=True)
    return Coder(autoencoder, None if exact is autoencoder else exact, ceiling)


def _tell_plan(
    config: RunConfig,
    index: Index,
    plans: list[ShardPlan],
    missing: list[ShardPlan],
    folder: Path,
    coder: Coder,
    num_workers: int,
    task: dist.Task,
) -> None:
    """Say what will be done, refuse what has no room, and say how long it takes."""
    if task.rank == 0:
        print(encode_plan.describe(config, index, plans, folder), flush=True)
    encode_plan.require_space(config, plans, folder)
    if task.rank == 0 and missing:
        print(encode_plan.estimate(config, missing, coder.autoencoder, num_workers), flush=True)


def _of_all_tasks(plans: Sequence[ShardPlan], mine: Sequence[ShardPlan]) -> str:
    """How far all tasks are together, where there are others."""
    if len(mine) == len(plans):
        return ""
    return f"all tasks: {sum(plan.path.exists() for plan in plans):,} of {len(plans):,} shards"


def _summary(manifest: Manifest) -> str:
    num_clips = sum(shard.num_clips for shard in manifest.shards)
    parts = [f"{num_clips:,} clips"]
    for split, ceiling in manifest.ceiling.items():
        measured = [f"{metric} {ceiling[metric]:.4g}" for metric in METRICS if ceiling.get(metric) is not None]
        parts.append(f"ceiling of {split} {', '.join(measured)}")
    if manifest.bf16_deviation is not None:
        parts.append(f"bf16 deviates by {manifest.bf16_deviation:.2%}")
    return "; ".join(parts)
