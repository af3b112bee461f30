"""End jobs for good: what waits leaves the queue, what runs saves and ends, what does not is cancelled."""

import time
from collections.abc import Callable, Collection, Iterable

from vdt_hpc.cluster import queue, submissions
from vdt_hpc.cluster.queue import NoAnswer, QueuedJob
from vdt_hpc.experiment.paths import RunPaths

LEAVING_S = 60.0
"""How long a job may take to leave the queue after its tasks' end."""


def end(paths: RunPaths, cluster: str, jobs: Iterable[QueuedJob], why: str) -> str:
    """Ask jobs of a run to end, and write down why, so that they do not go on by themselves.

    Returns:
        Slurm's complaints, empty if there are none.

    Raises:
        UserError: the run's folder cannot be written.
    """
    ended = list(jobs)
    if not ended:
        return ""
    submissions.note_end(paths, [each.job for each in ended], cluster, why)
    waiting, running = ([each.job for each in ended if each.waits is state] for state in (True, False))
    complaints = [queue.cancel(waiting), *(queue.ask_to_stop(job) for job in running)]
    return " ".join(filter(None, complaints))


def see_off(jobs: Collection[str], patience_s: float, say: Callable[[str], None]) -> list[str]:
    """Wait until jobs that were asked to end have ended; those that take too long are cancelled.

    Args:
        jobs: their ids.
        patience_s: how long they may take to save.
        say: takes lines for people.

    Returns:
        Those that have not ended, or of which nobody knows it; empty if all are over.
    """
    late = _outlast(jobs, patience_s + LEAVING_S, say)
    if not late:
        return []
    say(f"job {', '.join(late)} has not ended by itself, as far as is known, and is cancelled")
    complaint = queue.cancel(late)
    if complaint:
        say(complaint)
    return _outlast(late, LEAVING_S, say)


def _outlast(jobs: Collection[str], patience_s: float, say: Callable[[str], None]) -> list[str]:
    """Wait until jobs are over; returns those that run, or may run, when the time is."""
    left, silence = list(jobs), ""

    def are_over() -> bool:
        nonlocal left, silence
        try:
            left, silence = _still_running(jobs), ""
        except NoAnswer as fault:
            silence = str(fault)
        return not left

    if not wait_for(are_over, patience_s) and silence:
        say(f"whether job {', '.join(left)} has ended is not known: {silence}")
    return left


def _still_running(jobs: Collection[str]) -> list[str]:
    """Those of some jobs that run; what was given back to the queue meanwhile is cancelled."""
    live = queue.jobs(jobs)
    queue.cancel(job for job, each in live.items() if each.waits)
    return [job for job, each in live.items() if not each.waits]


def wait_for(condition: Callable[[], bool], patience_s: float) -> bool:
    """Ask a condition until it holds; False if it does not within the time."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(queue.POLL_S)
    return True
