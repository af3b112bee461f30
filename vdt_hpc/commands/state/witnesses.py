"""What Slurm says of the jobs of all runs: one question to the queue, one to the accounting for what that forgot."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vdt_hpc.cluster import queue
from vdt_hpc.cluster.queue import NoAnswer, QueuedJob
from vdt_hpc.commands.state import states
from vdt_hpc.commands.state.facts import Facts

ASK_AGAIN_S = 60.0
"""Accounting that gave no answer is left in peace for so long."""


@dataclass(frozen=True)
class Answers:
    """What Slurm has said at one moment."""

    cluster: str = ""
    """The cluster that answers here; empty: none does, or none had to be asked."""
    queued: Mapping[str, QueuedJob] | None = None
    """Jobs that squeue knows; None: it gave no answer."""
    accounted: Mapping[str, str] = field(default_factory=dict)
    """Slurm's words for jobs that squeue has forgotten."""
    remarks: tuple[str, ...] = ()
    """What did not answer, and what is relied upon instead; a line each."""

    def know(self, cluster: str | None) -> bool:
        """Whether the queue of that cluster has answered."""
        return self.queued is not None and bool(self.cluster) and cluster == self.cluster


class Slurm:
    """Asks the Slurm of this machine, again and again; remembers what cannot change."""

    def __init__(self) -> None:
        self._cluster = ""
        self._ended: dict[str, str] = {}
        self._silent_until_s = 0.0

    def ask(self, runs: Iterable[Facts]) -> Answers:
        """Ask about all jobs of all runs that may be on this cluster; asks nothing where there are none.

        Takes at most three times `slurm.ANSWER_TIMEOUT_S`, where Slurm hangs.
        """
        wanted = _jobs_by_cluster(runs)
        if not wanted:
            return Answers()
        try:
            self._cluster = self._cluster or queue.cluster_name()
        except NoAnswer:
            return Answers(remarks=("Slurm gives no answer here: states are by what the jobs have written themselves",))
        jobs = wanted.get(self._cluster, set())
        queued, remarks = None, []
        try:
            queued = queue.jobs(jobs)
        except NoAnswer:
            remarks.append("squeue gives no answer: states are by the accounting and what the jobs have written")
        accounted, answered = self._accounted(jobs - set(queued or {}))
        if not answered:
            remarks.append("sacct gives no answer: how jobs ended is by what they have written themselves")
        return Answers(self._cluster, queued, accounted, tuple(remarks))

    def _accounted(self, jobs: set[str]) -> tuple[dict[str, str], bool]:
        asked = jobs - self._ended.keys()
        found: dict[str, str] | None = {}
        if asked:
            found = queue.accounted_states(asked) if time.monotonic() >= self._silent_until_s else None
            if found is None and time.monotonic() >= self._silent_until_s:
                self._silent_until_s = time.monotonic() + ASK_AGAIN_S
        known = {job: word for job, word in (found or {}).items() if job in asked}
        over = {job: word for job, word in known.items() if not states.from_accounting(word).is_live}
        self._ended |= over
        return {**known, **{job: self._ended[job] for job in jobs & self._ended.keys()}}, found is not None


def _jobs_by_cluster(runs: Iterable[Facts]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for run in runs:
        for attempt in run.attempts:
            if attempt.cluster is not None:
                found.setdefault(attempt.cluster, set()).add(attempt.job)
        for leg in run.legs[-1:]:
            if leg.cluster:
                found.setdefault(leg.cluster, set()).add(leg.origin[1])
    return found
