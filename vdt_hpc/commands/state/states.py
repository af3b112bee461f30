"""One vocabulary for the state of a job and of a run, and how each witness's words translate into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from vdt_hpc import slurm
from vdt_hpc.cluster.queue import QueuedJob
from vdt_hpc.store import ledger
from vdt_hpc.store.ledger import KILLED as LEFT_NO_WORD

PENDING = "pending"
"""It waits in the queue for its first start."""
REQUEUED = "requeued"
"""It has run, and waits in the queue to go on."""
RUNNING = "running"
STOPPING = "stopping"
"""Its processes are being ended."""
COMPLETE = "complete"
STOPPED = "stopped"
"""It ended before its end, cleanly: the same command goes on."""
FAILED = "failed"
"""It crashed, or ended with a line for the user."""
CANCELLED = "cancelled"
KILLED = "killed"
"""It ended without having saved: a lost node, a time limit, `kill -9`."""
UNKNOWN = "unknown"
UNREADABLE = "unreadable"
"""Of a run: its files are damaged."""

ORDER = (
    RUNNING, STOPPING, REQUEUED, PENDING, UNREADABLE, FAILED, KILLED, UNKNOWN, CANCELLED, STOPPED, COMPLETE,
)  # fmt: skip
"""What is alive comes first, then what somebody should look at."""
LIVE = frozenset({RUNNING, STOPPING, REQUEUED, PENDING})

NO_WORD = "it left no word"
"""Why a job ended that was killed, where nobody has noted a reason."""
_ENDED = {
    "COMPLETED": (COMPLETE, ""),
    "CANCELLED": (CANCELLED, ""),
    "FAILED": (FAILED, "its script failed"),
    "TIMEOUT": (KILLED, "time limit"),
    "NODE_FAIL": (KILLED, "its node failed"),
    "PREEMPTED": (KILLED, "preempted"),
    "OUT_OF_MEMORY": (KILLED, "out of memory"),
    "BOOT_FAIL": (KILLED, "its node did not start"),
    "DEADLINE": (KILLED, "Slurm's deadline"),
}

_LEFT = "started first"
"""How the reason of a job ends that left the run to a rival."""


@dataclass(frozen=True)
class State:
    """How it stands with a job or a run."""

    word: str
    """One of this module's words."""
    why: str = ""
    """The reason, or what more there is to say, in one line."""
    start: datetime | None = None
    """When what waits will start, by Slurm's estimate; when what runs has started. Local time."""
    nodes: str = ""
    """Where it runs."""
    partition: str = ""
    """Slurm's word for where it runs or waits; empty: nobody said."""

    @property
    def is_live(self) -> bool:
        """True if it runs, or will without anybody's doing."""
        return self.word in LIVE


def from_queue(job: QueuedJob, has_run: bool) -> State:
    """A job that squeue knows.

    Args:
        job: squeue's line.
        has_run: whether it ran before, so that it waits as a requeued one.
    """
    if job.state in slurm.ENDED:
        return from_accounting(job.state)
    reason = job.reason if job.reason != "None" else ""
    if job.waits:
        word, why = (REQUEUED if has_run or job.state != "PENDING" else PENDING), reason
    else:
        word = STOPPING if job.state == "COMPLETING" else RUNNING
        why = "" if job.state in ("COMPLETING", "RUNNING") else job.state.lower()
    return State(word, why, job.start, job.nodes, job.partition)


def from_accounting(word: str) -> State:
    """A job by sacct's word for it."""
    if word in _ENDED:
        return State(*_ENDED[word])
    if word in slurm.WAITING:
        return State(PENDING if word == "PENDING" else REQUEUED, "by the accounting")
    return State(STOPPING if word == "COMPLETING" else RUNNING, "by the accounting")


def from_outcomes(statuses: Sequence[str], why: str) -> State:
    """A job by the words that its tasks have left, and the line that tells why it ended.

    Args:
        statuses: `Outcome.status` of every task that has written one; a task that was killed has none.
        why: one line.
    """
    if why == COMPLETE or (statuses and not why and set(statuses) == {"complete"}):
        return State(COMPLETE)
    if not statuses and why.endswith(_LEFT):
        return State(CANCELLED, why)
    if {"error", "crashed"} & set(statuses) or {"incomplete"} <= set(statuses) <= {"incomplete", "complete"}:
        return State(FAILED, why)
    if "stopped" in statuses and " killed" not in why:
        return State(STOPPED, why)
    return State(KILLED, why)


def from_ledger(why: str) -> State:
    """A job by the end that the run's lineage tells of."""
    if why == COMPLETE:
        return State(COMPLETE)
    if why.startswith(LEFT_NO_WORD):
        return State(KILLED, NO_WORD + why.removeprefix(LEFT_NO_WORD))
    if ledger.was_killed(why):
        return State(KILLED, why)
    if why == CANCELLED:
        return State(CANCELLED)
    return State(STOPPED if ledger.was_stopped(why) else FAILED, why)
