"""Send a stage of a run to the queue, write down that it was sent, and let others wait for it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vdt_hpc.cluster import dependency, executor, queue, snapshot, submissions
from vdt_hpc.cluster.job import StageJob
from vdt_hpc.cluster.queue import NoAnswer
from vdt_hpc.cluster.snapshot import Snapshot
from vdt_hpc.cluster.submissions import Submission
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths

if TYPE_CHECKING:
    from submitit import SlurmExecutor


def executor_for(
    stage: str, partition: Partition, paths: RunPaths, cluster: str, code: Snapshot, wait_for: str = ""
) -> "SlurmExecutor":
    """The executor of a stage's job on a cluster.

    Its folder does not depend on the job's id: Slurm opens the logs there, perhaps before submitit could make it.
    """
    name = f"{paths.config.name}-{stage}"
    return executor.slurm_executor(partition, paths.jobs_of(stage, cluster), name, code.folder, wait_for)


def submit(
    jobs: Sequence[StageJob], cluster: str, wait_for: str = "", continues: str = "", replaces: Sequence[str] = ()
) -> Submission:
    """Submit a job, or several that share a stage's work as one job array.

    Args:
        jobs: what they run: the same stage in the same place.
        cluster: name of the cluster that sbatch talks to.
        wait_for: what must end well before they start, see `dependency.py`.
        continues: the job that sends this one as it ends.
        replaces: jobs of the stage that this one takes the run over from when it starts.

    Raises:
        UserError: sbatch is missing or refuses the job, or the run's folder cannot be written.
    """
    job, paths = jobs[0], jobs[0].paths
    code = snapshot.plan(paths)
    code.write()
    number = executor.submit_to_slurm(executor_for(job.stage, job.place, paths, cluster, code, wait_for), jobs)
    sent = Submission(
        job=number, stage=job.stage, partition=job.place.name, cluster=cluster, command=job.command,
        time=submissions.now(), array=len(jobs), dependency=wait_for, continues=continues, replaces=tuple(replaces),
        is_share=len(jobs) == 1 and job.array_size > 1,
    )  # fmt: skip
    submissions.note(paths, sent)
    return sent


def let_wait_for(paths: RunPaths, job: str, sent: Submission) -> list[str]:
    """Let what waits for a job wait for another one that was sent in its place or as its rival.

    Args:
        paths: of the run.
        job: what is waited for; a task of an array is `123_4`.
        sent: the other job.

    Returns:
        Complaints of Slurm or about it, a line for each job that goes on waiting as before.
    """
    complaints = []
    for each in submissions.read(paths, sent.cluster):
        try:
            complaint = _redirect(paths, each, job, sent)
        except NoAnswer as silence:
            complaint = str(silence)
        if complaint:
            complaints.append(f"job {each.job} does not wait for job {sent.job}: {complaint}")
    return complaints


def _redirect(paths: RunPaths, waiting: Submission, job: str, sent: Submission) -> str:
    """Let one job wait for another one than before; returns Slurm's complaint, empty also if it need not."""
    wait_for = _redirected(waiting.dependency, job, sent)
    if not wait_for:
        return ""
    complaint = queue.make_depend(waiting.job, wait_for)
    if not complaint:
        submissions.note_dependency(paths, waiting.job, sent.cluster, wait_for)
    elif not queue.jobs([waiting.job]):  # it is over
        return ""
    return complaint


def _redirected(wait_for: str, job: str, sent: Submission) -> str:
    """What to wait for now; empty if the job was not waited for.

    Raises:
        NoAnswer: which tasks of an array are left is not known.
    """
    waited_for, array = dependency.jobs_in(wait_for), job.partition("_")[0]
    if job not in waited_for and array not in {each.partition("_")[0] for each in waited_for}:
        return ""
    if not sent.is_share:
        either = job in waited_for and wait_for == dependency.any_of(waited_for)
        # Slurm cannot say "both of these or that one": the job in their place finds done what they have done.
        return dependency.any_of([*waited_for, sent.job] if either else [sent.job])
    if job in waited_for:
        return dependency.all_of(sent.job if each == job else each for each in waited_for)
    if array in waited_for:  # all of its tasks: those that still run, and the one that was sent again
        kin = queue.patiently(lambda: queue.jobs([array]))
        return dependency.all_of([*(task for task in kin if task != job), sent.job])
    return ""
