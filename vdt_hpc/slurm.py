"""How Slurm's commands are asked: never for long, never through the user's display filters, never sure to be there."""

import os
import subprocess
from collections.abc import Mapping

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
"""States of a job that is over for good."""
WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
"""States of a job that will run: a first time, or again."""

ENDING = "COMPLETING"
"""State of a job whose processes are being ended; what comes after is not known yet."""

UNANSWERED = 127
"""Exit status of a command that is missing or gave no answer in time; stderr says which."""

_OF_A_JOB = ("SLURM", "SQUEUE_", "SACCT_", "SRUN_", "SCANCEL_", "SINFO_", "SCONTROL_", "SUBMITIT_", "PMI")
_OF_A_PROCESS_GROUP = {
    "MASTER_ADDR",
    "MASTER_PORT",
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
}
_KEPT = {"SLURM_CONF"}


def environment(known: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment (default: this process's) without what a surrounding job, or a display filter, has put there.

    A job that is submitted from inside another one must not inherit its rank and address; a job that the user's
    filters hide must not look as if it were gone.
    """
    known = os.environ if known is None else known
    left_out = _OF_A_PROCESS_GROUP | ({"CUDA_VISIBLE_DEVICES"} if "SLURM_JOB_ID" in known else set())
    return {
        name: value
        for name, value in known.items()
        if name in _KEPT or not (name.startswith(_OF_A_JOB) or name in left_out)
    }


def own_job() -> str:
    """The job that this process runs in, as squeue has it: a task of an array is `123_4`."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def own_restart() -> int:
    """How often the job that this process runs in has been requeued."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def ask(*words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command of Slurm with `text` on its standard input.

    One that is missing or silent has the exit status `UNANSWERED`, and its stderr says so; nothing is raised.
    """
    try:
        return subprocess.run(
            words, env=environment(), input=text, capture_output=True, text=True, errors="replace",
            timeout=ANSWER_TIMEOUT_S,
        )  # fmt: skip
    except FileNotFoundError:
        fault = f"{words[0]} is not on PATH"
    except subprocess.TimeoutExpired:
        fault = f"{words[0]} gave no answer within {ANSWER_TIMEOUT_S:g} s"
    except OSError as error:
        fault = f"{words[0]} cannot be run: {error.strerror}"
    return subprocess.CompletedProcess(words, UNANSWERED, "", fault)
