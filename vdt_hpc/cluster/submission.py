"""Send a stage of a run to the queue, and write down that it was sent."""

from pathlib import Path
from typing import TYPE_CHECKING

from vdt_hpc.cluster import executor, queue, snapshot, submissions
from vdt_hpc.cluster.job import StageJob
from vdt_hpc.cluster.snapshot import Snapshot
from vdt_hpc.cluster.submissions import Submission
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths

if TYPE_CHECKING:
    from submitit import SlurmExecutor


def executor_for(
    stage: str, partition: Partition, paths: RunPaths, code: Snapshot, after_jobs: tuple[str, ...] = ()
) -> "SlurmExecutor":
    """The executor of a stage's job.

    Its folder does not depend on the job's id: Slurm opens the logs there, perhaps before submitit could make it.
    """
    name = f"{paths.config.name}-{stage}"
    return executor.slurm_executor(partition, paths.jobs / stage, name, code.folder, after_jobs)


def submit(
    stage: str, config: RunConfig, partition: Partition, paths: RunPaths, command: str,
    after_jobs: tuple[str, ...] = (), continues: str = "",
) -> Submission:  # fmt: skip
    """Submit one job.

    Args:
        stage: what it runs.
        config, partition, paths: of which run, and where.
        command: name of the command that wants it, see `submissions.new_command`.
        after_jobs: jobs that must end well before it starts.
        continues: the job that it continues.

    Raises:
        UserError: sbatch is missing or refuses the job, or the run's folder cannot be written.
    """
    code = snapshot.plan(paths)
    code.write()
    # The same folders from wherever the job starts.
    rooted = partition.model_copy(update={"root": str(paths.root)})
    data = config.data.model_copy(update={"root": str(Path(config.data.root).expanduser().absolute())})
    stage_job = StageJob.of(stage, config.model_copy(update={"data": data}), rooted, command)
    job = executor.submit_to_slurm(executor_for(stage, partition, paths, code, after_jobs), stage_job)
    sent = Submission(
        job=job, stage=stage, partition=partition.name, cluster=queue.cluster_name(), command=command,
        time=submissions.now(), after=after_jobs, continues=continues,
    )  # fmt: skip
    submissions.note(paths, sent)
    return sent
