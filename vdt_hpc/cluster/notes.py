"""What a job's scripts leave beside its logs: when each start of the job began, and why it ended.

    <job>-<restart>_start.json {"time": ...}    <job>-<restart>_end.json {"why": ..., "time": ..., "outside": ...}

`outside` is true where Slurm or somebody ended the job, of which its tasks have only heard a signal. A script that was
killed leaves no end: the next start of the job writes it, with what Slurm has said meanwhile.
"""

import datetime
import re
from pathlib import Path

from vdt_hpc import files
from vdt_hpc.cluster import queue

UNTOLD = "killed without a word: its node failed, it was preempted without grace, or somebody requeued it"
_BANNER = re.compile(r"\*\*\* JOB \S+ ON \S+ CANCELLED AT (\S+) DUE TO (.+?) \*\*\*")
_WORDS = {
    "NODE_FAIL": "its node failed", "NODE FAILURE": "its node failed",
    "PREEMPTED": "preempted", "PREEMPTION": "preempted",
    "REQUEUED": "requeued by somebody", "JOB REQUEUE": "requeued by somebody",
    "TIMEOUT": "the time limit", "TIME LIMIT": "the time limit",
    "OUT_OF_MEMORY": "out of memory", "CANCELLED": "cancelled",
}  # fmt: skip
"""Slurm's words, in the accounting and in a job's log, and ours."""


def note_start(folder: Path, job: str, restart: int) -> None:
    """Write down that a job starts; where its start before this one left no end, write that down too.

    Args:
        folder: of the job's logs.
        job: its id.
        restart: how often it has started before.

    Raises:
        UserError: the folder cannot be written, or a note is damaged.
    """
    if restart and not _path(folder, job, restart - 1, "end").exists():
        why = _banner(folder, job, restart - 1) or _accounted(job, restart - 1) or UNTOLD
        note_end(folder, job, restart - 1, why, outside=True)
    files.write_json(_path(folder, job, restart, "start"), {"time": _now().isoformat(timespec="seconds")})


def note_end(folder: Path, job: str, restart: int, why: str, outside: bool) -> None:
    """Write down why a job has ended.

    Args:
        folder, job, restart: as for `note_start`.
        why: in one line.
        outside: whether the reason is not the job's own.

    Raises:
        UserError: the folder cannot be written.
    """
    note = {"why": why, "time": _now().isoformat(timespec="seconds"), "outside": outside}
    files.write_json(_path(folder, job, restart, "end"), note)


def told_by_slurm(folder: Path, job: str, restart: int) -> str:
    """Why Slurm is ending a job whose script still runs; empty if it is not, or does not tell."""
    return _banner(folder, job, restart) or (_WORDS["PREEMPTED"] if queue.is_preempted(job) else "")


def _banner(folder: Path, job: str, restart: int) -> str:
    """What Slurm has written into a job's log since that start of it."""
    log, start = folder / f"{job}_0_log.err", _path(folder, job, restart, "start")
    banners = _BANNER.findall(log.read_text(errors="replace")) if log.exists() else []
    if not banners or not start.exists():
        return ""
    moment, word = banners[-1]
    began = datetime.datetime.fromisoformat(files.read_json(start)["time"])
    is_of_it = datetime.datetime.fromisoformat(moment).astimezone() >= began
    return _WORDS.get(word, word.lower()) if is_of_it else ""


def _accounted(job: str, restart: int) -> str:
    states = queue.accounted_starts(job)
    return _WORDS.get(states[restart], states[restart].lower()) if restart < len(states) else ""


def _path(folder: Path, job: str, restart: int, what: str) -> Path:
    return folder / f"{job}-{restart}_{what}.json"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
