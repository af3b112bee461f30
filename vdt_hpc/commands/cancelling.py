"""Take all jobs of a run out of the queue, those that run after they have saved: `launch --cancel RUN`."""

from pathlib import Path

from vdt_hpc.cluster import ending, queue, submissions
from vdt_hpc.cluster.job import StageJob
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.lease.lease import read_holder

CANCELLED = "cancelled by launch --cancel"


def cancel(paths: RunPaths) -> None:
    """End every job of a run and wait until it has ended; prints what happens.

    Args:
        paths: of the run.

    Raises:
        UserError: Slurm gives no answer, or refuses; or the run's folder cannot be written.
    """
    cluster = queue.cluster_name()
    sent = submissions.read(paths, cluster)
    live = queue.jobs(task for job in sent for task in job.tasks)
    if not live:
        holder = read_holder(paths.lease)
        who = f"; it is trained by {holder.describe()}" if holder else ""
        print(f"nothing of {paths.run.name} is in the queue of {cluster}{who}")
        return
    complaint = ending.end(paths, cluster, live.values(), CANCELLED)
    if complaint:
        raise UserError(f"Slurm refuses: {complaint}")
    for job, found in live.items():
        how = "cancelled" if found.waits else "asked to save and end"
        print(f"job {job} on {found.partition} ({found.state}): {how}", flush=True)
    running = [job for job, found in live.items() if not found.waits]
    if not running:
        return
    stages = {task: job.stage for job in sent for task in job.tasks}
    margin_s = max(_save_margin_s(paths.jobs_of(stages[job], cluster), job) for job in running)
    late = ending.see_off(running, margin_s, print)
    if late:
        raise UserError(f"job {', '.join(late)} may still be in the queue; see squeue")
    print(f"{paths.run.name} has no job in the queue any more")


def _save_margin_s(folder: Path, job: str) -> int:
    """How long a job may take to save."""
    known = StageJob.find(folder, job)
    if known:
        return known.place.save_margin_s
    margin_s: int = Partition.model_fields["save_margin_s"].default
    print(f"job {job}: {StageJob.pickle_path(folder, job)} is gone, so it gets {margin_s} s to save", flush=True)
    return margin_s
