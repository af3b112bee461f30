"""Stage `train`: latents -> checkpoints. Running it again resumes; on another partition too.

Imports of torch stay below the check for what is already done, so that a finished run answers at once.
"""

import yaml

from jobs import progress_log
from vdt_hpc import files
from vdt_hpc.dist import ProcessGroup, current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition, plan_batch
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.same_run import require_same_run
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.experiment.weights import initial_file
from vdt_hpc.stopping import StopFlag, Stopped
from vdt_hpc.store import checkpoint, checkpoint_writing


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Train until `train.total_clips`, or until a signal or the time limit, from the newest valid checkpoint.

    Every task of the job calls this; they share the batch and the writing of checkpoints. While another job trains
    the run, this one waits (on this machine) or leaves (on Slurm).

    Raises:
        UserError: no latents, a run of the same name with another configuration, no space, a batch that is smaller
            than the number of tasks, checkpoints that are all damaged, another job that trains the run, no compiler
            where the partition compiles, or numbers that stay without a finite value.
    """
    paths = paths_for(config, partition)
    require_same_run(config, paths)
    plan = plan_batch(config.batch, partition)
    if done := _done(config, paths):
        return done
    stop = StopFlag().install()
    from jobs.holding import hold
    from jobs.loop import TrainingLoop
    from vdt_hpc.model import arithmetic, execution

    task = current_task()
    with files.explained(paths.jobs):
        paths.jobs.mkdir(parents=True, exist_ok=True)
    group = ProcessGroup(task, paths.jobs)
    try:
        execution.prepare(config, partition, group.device)
        with hold(paths.lease, partition, group, stop.__bool__) as lease:
            if lease is None:
                return StageResult(f"stopped by {_why(stop)} while another job trains this run", complete=False)
            fault = group.broadcast_text(_prepare(config, paths) if task.rank == 0 else "")
            if fault:
                raise UserError(fault)
            done = _done(config, paths) if task.rank == 0 else None  # another job may have ended the run meanwhile
            if summary := group.broadcast_text(done.summary if done else ""):
                return done or StageResult(summary)
            with arithmetic.products(config, group.device):
                return TrainingLoop(config, partition, plan, paths, group, stop, lease).run()
    except Stopped:
        return StageResult(f"stopped by {_why(stop)} before training went on; nothing is lost", complete=False)
    finally:
        group.close()


def _done(config: RunConfig, paths: RunPaths) -> StageResult | None:
    """The result of a run that is complete, without importing torch."""
    total = config.train.total_clips
    found = checkpoint.newest(paths.checkpoints, signature(config), verify=False, say=_silent)
    if found is None or found.clips_seen < total or not progress_log.has_line(paths.progress_log, "end"):
        return None
    return StageResult(f"already trained: {found.clips_seen:,} clips", outputs={"checkpoint": str(found.path)})


def _prepare(config: RunConfig, paths: RunPaths) -> str:
    """Make the run's folder ready, as its one writer; returns what is wrong, in one line, or nothing."""
    try:
        require_same_run(config, paths)  # once more: another job may have started the run meanwhile
        if config.init.from_ and not checkpoint.folders(paths.checkpoints):
            initial_file(config.init.from_)  # a mistyped name must not become the run's for ever
        _keep_config(config, paths)
        checkpoint_writing.fence(paths.checkpoints)
    except UserError as error:
        return str(error)
    return ""


def _why(stop: StopFlag) -> str:
    return stop.reason or "the time limit, or a signal to another task,"


def _keep_config(config: RunConfig, paths: RunPaths) -> None:
    """Write the run's configuration at its first start."""
    if not paths.run_config.exists():
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        files.write_text(paths.run_config, text)


def _silent(line: str) -> None:
    """The line is said again when the checkpoint is loaded."""
