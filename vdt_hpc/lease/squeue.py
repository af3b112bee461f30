"""What Slurm's queue says of a job: whether it is over, or nothing that one could rely on."""

import os
import subprocess

ANSWER_TIMEOUT_S = 10.0
"""A controller that is busy for longer is taken as one that gives no answer."""

ENDED = {
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
}
WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
"""A job that ran and is waiting again was requeued, so the processes that ran in it are over."""


def job_is_over(job_id: str) -> bool | None:
    """Ask the queue about a job that once ran: True when it runs no longer, None when it may or nobody can tell.

    Takes up to `ANSWER_TIMEOUT_S` seconds.
    """
    # --all: jobs in hidden partitions would look as if they were gone.
    command = ["squeue", "--noheader", "--all", "-j", job_id, "-o", "%T"]
    try:
        done = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, errors="replace", timeout=ANSWER_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return True if "Invalid job id specified" in done.stderr else None
    # The number of a job array stands for all of its jobs: several lines, one state each; no line, no such job.
    return True if set(done.stdout.split()) <= ENDED | WAITING else None


def _environment() -> dict[str, str]:
    """Ours, without the user's display filters: a job that they hide must not look as if it were gone."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_") and name != "SLURM_CLUSTERS"
    }
