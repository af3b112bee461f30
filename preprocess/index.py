"""Stage `index`: what the frames are, what is wrong with them, and what encoding them would take.

    frames -> <root>/indexes/<dataset>-<recipe>.json and .md (the index, and the report on it)

Nothing is decoded but the few frames of a trial.
"""

from __future__ import annotations

from preprocess import encode_plan
from preprocess.shards import plan_shards
from preprocess.source.opening import open_index, write_report
from preprocess.source.report import require_clips, summary
from vdt_hpc import dist
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.model import autoencoder as autoencoders


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Index the frames, report on them, and say what an encode would do.

    Raises:
        UserError: no frames, or faults in them that are not to be skipped; the report names each.
    """
    task = dist.current_task()
    if task.rank:
        return StageResult("index: rank 0 indexes alone")
    paths = paths_for(config, partition)
    index = open_index(config, paths)
    page = write_report(config, index, paths)
    require_clips(index, paths.frames, page, config.data.skip_bad_clips)
    plans = plan_shards(index, paths.latents, config.autoencoder.clips_per_shard)
    print(encode_plan.describe(config, index, plans, paths.latents), flush=True)
    missing = [plan for plan in plans if not plan.path.exists()]
    if missing:
        print(_trial(config, missing, task), flush=True)
    return StageResult(f"index: {summary(index)}", outputs={"report": str(page)})


def _trial(config: RunConfig, missing: list[encode_plan.ShardPlan], task: dist.Task) -> str:
    try:
        autoencoder = autoencoders.load(
            config.autoencoder, dist.device_of(task), fetch=False, precision=config.autoencoder.encode_precision
        )
    except UserError as error:
        return f"plan: no trial: {error}"
    import torch

    num_workers = dist.cpus_of_task(task)
    torch.set_num_threads(num_workers)
    return encode_plan.estimate(config, missing, autoencoder, num_workers)
