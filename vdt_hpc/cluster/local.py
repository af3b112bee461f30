"""Run a stage on this machine: start its tasks, show what task 0 prints, pass on a stop, read how it ended."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import submitit

from vdt_hpc.cluster.executor import local_executor
from vdt_hpc.cluster.job import Outcome, StageJob
from vdt_hpc.cluster.local_tasks import LocalTasks, deaf_to_interrupts
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.progress import TERMINAL_COLUMNS

POLL_S = 0.1
WATCH_S = 0.002
"""Seconds between two calls of a watch: the moments that it waits for may be short."""
ASK_AGAIN_S = 1.0
"""Seconds after which a stop is asked for again: a task that was only just starting has not heard the first time."""
CORES_IN_A_JOB = "SLURM_CPUS_PER_TASK"
GRACE_S = 20.0
"""Seconds that the other tasks get to end after one has failed."""


Watch = Callable[[LocalTasks], None]


class StageFailed(Exception):
    """A stage crashed; the message is one line that names the log with the traceback."""


def run_local(
    job: StageJob, partition: Partition, jobs_folder: Path, stops: list[int], watch: Watch | None = None
) -> Outcome:
    """Run a stage to its end as processes of this machine; returns the outcome of task 0, or of one that was stopped.

    Args:
        job, partition: what and where.
        jobs_folder: gets a folder for the logs.
        stops: the signals of `stop_requests`: the first asks the tasks to save and end, a second one kills them. One
            that comes when the stage is all but done may find it complete, so whoever starts another looks here first.
        watch: called again and again while the tasks run, which it is given; what task 0 prints is then not shown.

    Raises:
        UserError: the stage ended with a user's mistake on any task.
        StageFailed: a task crashed or was killed.
    """
    folder = _new_folder(jobs_folder, job.stage)
    with _environment_of_tasks(), deaf_to_interrupts():
        started = local_executor(partition, folder).submit(job)
    interrupted = _follow(started, folder, partition.world_size, stops, watch)
    outcomes = [_outcome(started, folder, rank, interrupted) for rank in range(partition.world_size)]
    # When one task ends with a word for the user, the others may crash for want of it: the word comes first.
    for outcome in outcomes:
        if outcome.status == "error":
            raise UserError(outcome.message)
    for rank, outcome in enumerate(outcomes):
        if outcome.status == "crashed":
            log = _log(started, rank).with_suffix(".err")
            raise StageFailed(f"stage {job.stage} crashed on task {rank}: {outcome.message}; the traceback is in {log}")
    stopped = [outcome for outcome in outcomes if outcome.status == "stopped"]
    incomplete = [outcome for outcome in outcomes if outcome.status == "incomplete"]
    if incomplete and not stopped:
        raise UserError(incomplete[0].message)
    return [*stopped, *outcomes][0]


def _new_folder(jobs_folder: Path, stage: str) -> Path:
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{stage}"
    for count in range(1000):
        folder = jobs_folder / (f"{stem}-{count}" if count else stem)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if jobs_folder.is_dir():
                continue
            raise UserError(f"{jobs_folder} is not a folder; remove it or choose another --root") from None
        except OSError as error:
            raise UserError(f"cannot write {jobs_folder}: {error.strerror}; choose another --root") from None
        return folder
    raise UserError(f"too many jobs started within one second under {jobs_folder}; try again")


def _log(job: "submitit.Job[Any]", rank: int) -> Path:
    return submitit.core.utils.JobPaths(job.paths.folder, job.job_id, rank).stdout


def _follow(job: "submitit.Job[Any]", folder: Path, num_tasks: int, stops: list[int], watch: Watch | None) -> bool:
    """Copy task 0's output to ours until the job has ended; returns whether it was asked to stop."""
    tasks = LocalTasks(int(job.job_id))
    position, num_answered, next_asking = 0, 0, 0.0
    failed_since: float | None = None
    while True:
        ended = job.done()  # asked before reading, so that the last bytes are read after the end
        if watch is None:
            position = _copy_from(_log(job, 0), position)
        if ended:
            return bool(stops)
        if not _has_failed(job, tasks, folder, num_tasks):
            failed_since = None
        elif failed_since is None:
            failed_since = time.monotonic()
        elif time.monotonic() - failed_since > GRACE_S:
            tasks.kill()
        if stops and not num_answered:
            print("\nstopping: the tasks save and end (once more to kill them)", file=sys.stderr, flush=True)
        elif len(stops) > num_answered:
            tasks.kill()
        num_answered = len(stops)
        if stops and time.monotonic() >= next_asking:
            tasks.terminate()
            next_asking = time.monotonic() + ASK_AGAIN_S
        _pause(tasks, watch)


def _pause(tasks: LocalTasks, watch: Watch | None) -> None:
    """Let `POLL_S` seconds pass; who watches does so meanwhile."""
    if watch is None:
        time.sleep(POLL_S)
        return
    end = time.monotonic() + POLL_S
    while time.monotonic() < end:
        watch(tasks)
        time.sleep(WATCH_S)


def _copy_from(path: Path, position: int) -> int:
    """Copy what a log has gained since `position` to our output, as bytes: progress bars redraw in place."""
    if not path.exists():
        return position
    with path.open("rb") as log:
        log.seek(position)
        gained = log.read()
    sys.stdout.flush()
    sys.stdout.buffer.write(gained)
    sys.stdout.buffer.flush()
    return position + len(gained)


def _has_failed(job: "submitit.Job[Any]", tasks: LocalTasks, folder: Path, num_tasks: int) -> bool:
    """True if a task has failed, or runs no longer without a word of how it ended (or not yet: that passes)."""
    num_running = len(tasks.running())  # asked before reading: a task writes its outcome before it ends
    found = (Outcome.read(folder, job.job_id, rank) for rank in range(num_tasks))
    outcomes = [outcome for outcome in found if outcome is not None]
    return num_running + len(outcomes) < num_tasks or any(each.status in ("error", "crashed") for each in outcomes)


def _outcome(job: "submitit.Job[Any]", folder: Path, rank: int, interrupted: bool) -> Outcome:
    outcome = Outcome.read(folder, job.job_id, rank)
    if outcome is None and interrupted:
        return Outcome("stopped", "stopped before it had begun, or killed", {})
    if outcome is None:
        last_words = _last_line(_log(job, rank).with_suffix(".err"))
        return Outcome("crashed", f"it ended without a result ({last_words})", {})
    return outcome


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n") if path.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")


@contextlib.contextmanager
def _environment_of_tasks() -> Iterator[None]:
    """What the tasks inherit: a bar's width if there is a terminal to show it on, and no chatter of submitit.

    Inside a Slurm job, its cores per task are those of this one process: the tasks share them evenly.
    """
    before = dict(os.environ)
    added = {"SUBMITIT_LOG_LEVEL": "WARNING"}
    if sys.stdout.isatty():
        added[TERMINAL_COLUMNS] = str(shutil.get_terminal_size().columns)
    os.environ.update({name: value for name, value in added.items() if name not in before})
    if "SLURM_JOB_ID" in before:
        os.environ.pop(CORES_IN_A_JOB, None)
    try:
        yield
    finally:
        for name in added.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update({name: before[name] for name in (CORES_IN_A_JOB,) if name in before})
