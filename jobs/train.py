"""Stage `train`: latents -> checkpoints. Running it again resumes; on another partition too.

Imports of torch stay below the check for what is already done, so that a finished run answers at once.
"""

from typing import TYPE_CHECKING

import yaml

from vdt_hpc import files
from vdt_hpc.dist import StopFlag, current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition, plan_batch
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.signature import differing_fields, signature
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.store import checkpoint

if TYPE_CHECKING:
    pass


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Train until `train.total_clips`, or until a signal or the time limit, from the newest valid checkpoint.

    Every task of the job calls this. Weights, average and optimizer are saved by rank 0.

    Raises:
        UserError: no latents, a run of the same name with another configuration, no space, a batch that is smaller
            than the number of tasks, or checkpoints that are all damaged.
    """
    paths = paths_for(config, partition)
    _check_same_run(config, paths)
    plan = plan_batch(config.batch, partition)
    done = checkpoint.newest(paths.checkpoints, signature(config), verify=False, say=_silent)
    if done is not None and done.clips_seen >= config.train.total_clips:
        return StageResult(f"already trained: {done.clips_seen:,} clips", outputs={"checkpoint": str(done.path)})

    stop = StopFlag().install()
    from jobs.loop import TrainingLoop
    from vdt_hpc.dist import ProcessGroup

    task = current_task()
    if task.rank == 0:
        paths.jobs.mkdir(parents=True, exist_ok=True)
        checkpoint.remove_leftovers(paths.checkpoints)
        _keep_config(config, paths)
    group = ProcessGroup(task, paths.jobs)
    try:
        return TrainingLoop(config, partition, plan, paths, group, stop).run()
    finally:
        group.close()


def _check_same_run(config: RunConfig, paths: RunPaths) -> None:
    """Refuse to go on with a run whose configuration computes something else.

    Raises:
        UserError: it does; the fields that differ are named.
    """
    if not paths.run_config.exists():
        return
    first = strict.load(RunConfig, paths.run_config)
    if signature(first) != signature(config):
        raise UserError(
            f"the run {config.name} was started with other settings ({', '.join(differing_fields(first, config))}); "
            f"choose another name=..., or set them back to what {paths.run_config} says"
        )


def _keep_config(config: RunConfig, paths: RunPaths) -> None:
    """Write the run's configuration at its first start."""
    if not paths.run_config.exists():
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        files.write_text(paths.run_config, text)


def _silent(line: str) -> None:
    """The line is said again when the checkpoint is loaded."""
