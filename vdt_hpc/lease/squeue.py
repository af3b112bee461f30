"""What Slurm's queue says of a job: whether it is over, or nothing that one could rely on."""

from vdt_hpc import slurm


def job_is_over(job_id: str) -> bool | None:
    """Ask the queue about a job that once ran: True when it runs no longer, None when it may or nobody can tell.

    A job that ran and is waiting again was requeued, so the processes that ran in it are over. Takes up to
    `slurm.ANSWER_TIMEOUT_S` seconds.
    """
    # --all: jobs in hidden partitions would look as if they were gone.
    answer = slurm.ask("squeue", "--noheader", "--all", "-j", job_id, "-o", "%T")
    if answer.returncode != 0:
        return True if "Invalid job id specified" in answer.stderr else None
    # The number of a job array stands for all of its jobs: several lines, one state each; no line, no such job.
    return True if set(answer.stdout.split()) <= slurm.ENDED | slurm.WAITING else None
