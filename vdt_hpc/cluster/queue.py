"""The queue of this cluster as the launcher and `status` see it: partitions, jobs, estimates; nothing else of Slurm."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from vdt_hpc import slurm
from vdt_hpc.errors import UserError

AnswerT = TypeVar("AnswerT")
POLL_S = 0.5
"""Seconds between two questions about the same."""
PATIENCE_S = 60.0
"""How long a job's script, which nobody runs again, asks a Slurm that gives no answer."""
_FIELDS = "%i|%j|%P|%T|%r|%S|%M|%N"
_ESTIMATE = re.compile(r"to start at (\S+)")
_OUT_OF_SERVICE = ("down", "drain", "fail", "error", "maint", "unknown", "reboot", "inval")
_TIME = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")


class NoAnswer(UserError):
    """Slurm gives no answer: what is in the queue is not known, which is not the same as an empty queue."""

    def __init__(self, answer: "subprocess.CompletedProcess[str]") -> None:
        command = Path(answer.args[0]).name
        said = " ".join(answer.stderr.split()) or f"exit status {answer.returncode}"
        super().__init__(
            f"{command} gives no answer here ({said}); try again, on a login node of the cluster if this is none"
        )


@dataclass(frozen=True)
class QueuedJob:
    """One job, or one task of a job array, that squeue knows."""

    job: str
    """Number; of a task of an array `123_4`."""
    name: str
    partition: str
    """Slurm's name of the partition, or of several with commas while it waits for any of them."""
    state: str
    """Slurm's word: PENDING, RUNNING, COMPLETING ..."""
    reason: str
    """Why it waits; `None` where Slurm gives no reason."""
    start: datetime | None
    """When it started; while it waits, Slurm's estimate, or None. Local time, as Slurm writes it."""
    runtime_s: float
    """Seconds that it has run since its last start."""
    nodes: str

    @property
    def waits(self) -> bool:
        """True if no process of it runs."""
        return self.state in slurm.WAITING

    def is_ahead_of(self, other: "QueuedJob | None") -> bool:
        """True if it runs and has started before the other; every observer finds the same order."""
        if self.waits or self.state in (slurm.ENDING, *slurm.ENDED):
            return False
        if other is None or other.start is None or self.start is None:
            return True
        return (self.start, _number(self.job)) < (other.start, _number(other.job))


@dataclass(frozen=True)
class QueuePartition:
    """One partition as this cluster has it."""

    name: str
    max_time_min: float | None
    """Longest job in minutes; None: no limit."""
    is_up: bool
    num_nodes: int


@dataclass(frozen=True)
class Estimate:
    """What `sbatch --test-only` says of a submission."""

    start: datetime | None
    """When it would start, local time; None: it would never, or nobody knows."""
    refusal: str
    """Slurm's own words if it refuses the job, else empty."""


def patiently(question: Callable[[], AnswerT]) -> AnswerT:
    """Ask Slurm until it answers.

    Raises:
        NoAnswer: it has given none for `PATIENCE_S`.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return question()
        except NoAnswer:
            if time.monotonic() >= deadline:
                raise
        time.sleep(POLL_S)


def cluster_name() -> str:
    """Name of the cluster that the commands here talk to.

    Raises:
        NoAnswer: none answers.
    """
    answer = slurm.ask("scontrol", "show", "config")
    match = re.search(r"^ClusterName\s*=\s*(\S+)", answer.stdout, re.MULTILINE)
    if match is None:
        raise NoAnswer(answer)
    return match[1]


def own_cluster() -> str:
    """Name of the cluster whose job this process runs in.

    Raises:
        NoAnswer: Slurm has left no name in the environment, and does not answer.
    """
    return os.environ.get("SLURM_CLUSTER_NAME") or patiently(cluster_name)


def partitions() -> dict[str, QueuePartition] | None:
    """The partitions of this cluster by name; None where no controller answers."""
    answer = slurm.ask("scontrol", "show", "partition", "--all", "-o")
    if answer.returncode:
        return None
    found = {}
    for line in answer.stdout.splitlines():
        fields = dict(re.findall(r"(\S+?)=(\S*)", line))
        if "PartitionName" in fields:
            found[fields["PartitionName"]] = QueuePartition(
                name=fields["PartitionName"],
                max_time_min=minutes(fields.get("MaxTime", "")),
                is_up=fields.get("State") == "UP",
                num_nodes=int(fields.get("TotalNodes") or 0),
            )
    return found


def jobs(ids: Iterable[str]) -> dict[str, QueuedJob]:
    """Those of the jobs that squeue knows, by id, each task of an array for itself.

    The queue forgets a job some minutes after its end: a job that is not there is over, or never was.

    Raises:
        NoAnswer: squeue gives none.
    """
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    answer = slurm.ask("squeue", "--noheader", "--all", "--array", "-j", ",".join(wanted), "-o", _FIELDS)
    if answer.returncode:
        if "Invalid job id specified" in answer.stderr:  # said of a lone number that is forgotten
            return {}
        raise NoAnswer(answer)
    found = {}
    for line in answer.stdout.splitlines():
        fields = line.split("|")
        # A name may hold the separator; the other fields cannot.
        job, name, (partition, state, reason, start, runtime, nodes) = fields[0], "|".join(fields[1:-6]), fields[-6:]
        found[job] = QueuedJob(
            job=job, name=name, partition=partition, state=state, reason=reason, start=_moment(start),
            runtime_s=60 * (minutes(runtime) or 0.0), nodes=nodes,
        )  # fmt: skip
    return found


def accounted_states(ids: Iterable[str]) -> dict[str, str] | None:
    """Slurm's words for jobs, by id, from the accounting: how those ended that the queue has forgotten.

    Returns:
        None where there is no accounting or it gives no answer; a job that it does not know is left out.
    """
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    answer = slurm.ask("sacct", "-X", "-n", "-P", "-j", ",".join(wanted), "-o", "JobID,State")
    if answer.returncode:
        return None
    rows = (line.split("|") for line in answer.stdout.splitlines() if "|" in line)
    return {row[0]: row[1].split()[0] for row in rows if row[1]}  # "CANCELLED by 0" is one state


def accounted_starts(job: str) -> list[str]:
    """How each start of a job ended, the first first, from the accounting; empty where it gives no answer."""
    answer = slurm.ask("sacct", "-D", "-X", "-n", "-P", "-j", job, "-o", "State")
    return [line.split()[0] for line in answer.stdout.splitlines() if line.strip()] if not answer.returncode else []


def is_preempted(job: str) -> bool:
    """True if Slurm is taking a running job's nodes away for another one's sake."""
    answer = slurm.ask("scontrol", "show", "job", "-o", job)
    return re.search(r"\bPreemptTime=\d", answer.stdout) is not None


def estimate(script: str) -> Estimate:
    """Ask when a submission would start; submits nothing.

    Slurm answers for the first of several partitions only, and overlooks a time above the partition's limit.
    """
    answer = slurm.ask("sbatch", "--test-only", text=script)
    match = _ESTIMATE.search(answer.stderr)
    if answer.returncode or match is None:
        words = " ".join(answer.stderr.split()) or "sbatch --test-only gave no answer"
        return Estimate(None, words.removeprefix("allocation failure: "))
    return Estimate(_moment(match[1]), "")


def cancel(ids: Iterable[str]) -> str:
    """Cancel jobs; returns Slurm's complaint, empty if there is none."""
    wanted = sorted(set(ids))
    return slurm.ask("scancel", *wanted).stderr.strip() if wanted else ""


def ask_to_stop(job: str) -> str:
    """Ask the tasks of a running job to save and end, without ending the job; returns Slurm's complaint, if any."""
    return slurm.ask("scancel", "--signal=USR2", job).stderr.strip()


def requeue(job: str) -> str:
    """Give a job back to the queue; returns Slurm's complaint, empty if it was done."""
    return _complaint(slurm.ask("scontrol", "requeue", job))


def make_depend(job: str, dependency: str) -> str:
    """Let a waiting job depend on others than before; returns Slurm's complaint, empty if it was done."""
    return _complaint(slurm.ask("scontrol", "update", f"JobId={job}", f"Dependency={dependency}"))


def minutes(text: str) -> float | None:
    """Minutes of a time as Slurm writes it, `[[days-]hours:]minutes:seconds`; None for UNLIMITED and the like."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    days, hours, whole, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + whole + seconds / 60


def nodes_out_of_service(partition: str) -> int:
    """Nodes of a partition that start nothing now: down, drained, failed or in maintenance."""
    answer = slurm.ask("sinfo", "--noheader", "-p", partition, "-o", "%D %T")
    rows = [line.split() for line in answer.stdout.splitlines()]
    return sum(int(row[0]) for row in rows if len(row) == 2 and row[1].startswith(_OUT_OF_SERVICE))


def absence() -> str:
    """Why nothing can be submitted from this machine, in one line for the user; empty where there is an sbatch."""
    if shutil.which("sbatch") is not None:
        return ""
    return "sbatch is not on PATH; run this on a login node of the cluster, or use --partition local"


def _complaint(answer: "subprocess.CompletedProcess[str]") -> str:
    return " ".join(answer.stderr.split()) or f"exit status {answer.returncode}" if answer.returncode else ""


def _number(job: str) -> tuple[int, ...]:
    return tuple(int(part) for part in job.split("_"))


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
