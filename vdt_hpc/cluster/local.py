"""Run a stage on this machine: start its tasks, show what task 0 prints, pass on a stop, read how it ended."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import submitit

from vdt_hpc.cluster.executor import local_executor
from vdt_hpc.cluster.job import Outcome, StageJob
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.progress import TERMINAL_COLUMNS

POLL_S = 0.1
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)
GRACE_S = 20.0
"""Seconds that the other tasks get to end after one has failed."""


class StageFailed(Exception):
    """A stage crashed; the message is one line that names the log with the traceback."""


def run_local(job: StageJob, partition: Partition, jobs_folder: Path) -> Outcome:
    """Run a stage to its end as processes of this machine; returns the outcome of task 0, or of one that was stopped.

    Ctrl-C (or TERM, USR2, or a terminal that goes away) asks the tasks to save and end, a second one kills them.

    Raises:
        UserError: the stage ended with a user's mistake on any task.
        StageFailed: a task crashed or was killed.
    """
    folder = _new_folder(jobs_folder, job.stage)
    with _environment_of_tasks(), _interrupts_ignored():
        started = local_executor(partition, folder).submit(job)
    with _signals_as_interrupts():
        interrupted = _follow(started, folder, partition.world_size)
    outcomes = [_outcome(started, folder, rank, interrupted) for rank in range(partition.world_size)]
    # When one task ends with a word for the user, the others may crash for want of it: the word comes first.
    for outcome in outcomes:
        if outcome.status == "error":
            raise UserError(outcome.message)
    for rank, outcome in enumerate(outcomes):
        if outcome.status == "crashed":
            log = _log(started, rank).with_suffix(".err")
            raise StageFailed(f"stage {job.stage} crashed on task {rank}: {outcome.message}; the traceback is in {log}")
    return next((outcome for outcome in outcomes if outcome.status == "stopped"), outcomes[0])


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


def _follow(job: "submitit.Job[Any]", folder: Path, num_tasks: int) -> bool:
    """Copy task 0's output to ours until the job has ended; returns whether it was asked to stop."""
    interrupts = 0
    failed_since: float | None = None
    all_started = False
    position = 0
    while True:
        ended = job.done()  # asked before reading, so that the last bytes are read after the end
        try:
            position = _copy_from(_log(job, 0), position)
            if ended:
                return interrupts > 0
            num_running = len(_tasks(job))
            all_started = all_started or num_running == num_tasks
            # A task that was killed says nothing; the others may wait for it for long.
            num_silent = num_tasks - num_running - len(outcomes := _outcomes(job, folder, num_tasks))
            failed = any(outcome.status in ("error", "crashed") for outcome in outcomes)
            if failed_since is None and (failed or (all_started and num_silent > 0)):
                failed_since = time.monotonic()
            if failed_since is not None and time.monotonic() - failed_since > GRACE_S:
                _kill(job)
            time.sleep(POLL_S)
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts == 1:
                print("\nstopping: the tasks save and end (once more to kill them)", file=sys.stderr, flush=True)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(_controller(job), signal.SIGTERM)  # which passes it to every task
            else:
                _kill(job)


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


def _outcomes(job: "submitit.Job[Any]", folder: Path, num_tasks: int) -> list[Outcome]:
    """Outcomes of the tasks that have one."""
    found = (Outcome.read(folder, job.job_id, rank) for rank in range(num_tasks))
    return [outcome for outcome in found if outcome is not None]


def _controller(job: "submitit.Job[Any]") -> int:
    """Process id of what starts the tasks: the job itself or, where there are set-up lines, its shell's child."""
    pid = int(job.job_id)
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
        children = _children(pid)
        if program != os.fsencode(sys.executable) and children:
            return children[0]
    return pid


def _tasks(job: "submitit.Job[Any]") -> list[int]:
    """Process ids of the tasks that run."""
    return _children(_controller(job))


def _children(pid: int) -> list[int]:
    """Process ids of a process's children, as Linux lists them under /proc."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


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


def _kill(job: "submitit.Job[Any]") -> None:
    """Kill every task; their controller then ends by itself."""
    for task in _tasks(job):
        with contextlib.suppress(ProcessLookupError):
            os.kill(task, signal.SIGKILL)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Start children that ignore the terminal's Ctrl-C: they are asked to stop by TERM, which lets them save."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _environment_of_tasks() -> Iterator[None]:
    """What the tasks inherit: a bar's width if there is a terminal to show it on, and no chatter of submitit."""
    added = {"SUBMITIT_LOG_LEVEL": "WARNING"}
    if sys.stdout.isatty():
        added[TERMINAL_COLUMNS] = str(shutil.get_terminal_size().columns)
    added = {name: value for name, value in added.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
