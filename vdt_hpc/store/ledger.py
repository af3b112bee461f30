"""The lineage of a run: `jobs.jsonl`, one line when a job starts to train it and one when that has ended.

    {"event": "start", "job": "123-0", "time": ..., "partition": ..., "cluster": ..., "node": ..., "world_size": ...,
     "clips": where it went on}
    {"event": "end", "job": "123-0", "time": ..., "why": ..., "clips": how far it came, "lost_clips": what of it was
     not saved}

A job that was killed writes no end: the next one writes it in its place, with the clips that the training log tells of,
and with the reason and the time that the job's script has left, or null. Only the run's one writer appends.

The script's note beside the logs, `<cluster>/<job>_end.json`, has `why`, `time` and `outside`: true if Slurm or
somebody ended the job, of which the training has only heard a signal. A run that was copied from another cluster may
have had two jobs of the same number.
"""

import datetime
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from vdt_hpc import files, typed
from vdt_hpc.errors import UserError
from vdt_hpc.typed import Moment

KILLED = "killed without a word"
COMPLETE = "complete"
_KILLED = ("its node failed", "out of memory")
_STOPPED = (
    "SIG", "the time limit", "a signal", "stopped by", "moved to", "cancelled by", "preempted", "requeued by",
)  # fmt: skip
"""How the reasons begin that are no failure."""


@dataclass(frozen=True)
class Leg:
    """One job's part in a run."""

    job: str
    """Job and restart, as in the training log."""
    partition: str
    cluster: str
    node: str
    world_size: int
    start: str
    """UTC, ISO 8601."""
    first_clips: int
    """Clips seen where it went on."""
    end: str | None = None
    """UTC; None while it trains, and where it was killed."""
    why: str | None = None
    """Why it ended; None while it trains."""
    last_clips: int | None = None
    """How far it came."""
    lost_clips: int = 0
    """Clips beyond its last checkpoint, which the next job had to train again."""

    @property
    def origin(self) -> tuple[str, str]:
        """Cluster and number of the job that it was a start of."""
        return self.cluster, self.job.rpartition("-")[0]

    @property
    def restart(self) -> int:
        """How often that job had been requeued."""
        count = self.job.rpartition("-")[2]
        return int(count) if count.isdigit() else 0


def was_killed(why: str) -> bool:
    """True for the reason of a job that had no time to save."""
    return why.startswith(KILLED) or why in _KILLED or (why.startswith("task ") and " killed" in why)


def was_stopped(why: str) -> bool:
    """True for the reason of a job that was asked to end, and no failure."""
    return why.startswith(_STOPPED)


class Ledger:
    """Appends one job's part to a run's lineage: a line on entering, a line on leaving, however it leaves.

    Args:
        path: `jobs.jsonl`.
        job: the job that trains now, and its restart.
        partition: where.
        world_size: tasks.
        reached: tells how far the job is: clips seen, and clips seen at its last checkpoint.
        logged_clips: the furthest position of the training log before it was taken back.
        notes: folder where `<cluster>/<job>_end.json` may tell why a killed job ended.

    Raises:
        UserError: on entering or leaving: the disk is full or the folder cannot be written.
    """

    def __init__(
        self, path: Path, job: str, partition: str, world_size: int, reached: Callable[[], tuple[int, int]],
        logged_clips: int, notes: Path,
    ) -> None:  # fmt: skip
        self._path, self._job, self._partition, self._world_size = path, job, partition, world_size
        self._reached, self._logged_clips, self._notes = reached, logged_clips, notes
        self.why: str | None = KILLED
        """Why the job ends, if it ends well; None: the run is another job's now, so that nothing may be written."""

    def __enter__(self) -> "Ledger":
        clips, _ = self._reached()
        legs = read(self._path)
        if legs and legs[-1].why is None:
            furthest = max(self._logged_clips, legs[-1].first_clips)
            told = _note(self._notes, legs[-1]) or _Note(why=KILLED, time=None)
            self._append(
                event="end", job=legs[-1].job, time=told.time, why=told.why, clips=furthest,
                lost_clips=furthest - clips,
            )  # fmt: skip
        self._append(
            event="start", job=self._job, time=_now(), partition=self._partition, clips=clips,
            world_size=self._world_size, cluster=os.environ.get("SLURM_CLUSTER_NAME", ""), node=socket.gethostname(),
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.why is None:
            return
        clips, saved = self._reached()
        why = self.why if error is None else str(error) if isinstance(error, UserError) else f"crashed: {error!r}"
        try:
            self._append(event="end", job=self._job, time=_now(), why=why, clips=clips, lost_clips=clips - saved)
        except UserError:  # the next job writes it; what ends this one is more worth telling
            if error is None:
                raise

    def _append(self, **line: object) -> None:
        files.append_json_line(self._path, line)


def read(path: Path, notes: Path | None = None) -> list[Leg]:
    """The jobs of a run, oldest first; lines that cannot be read are passed over.

    Args:
        path: `jobs.jsonl`.
        notes: folder of the scripts' notes, which know more of the reasons; None: they are not looked at.

    Raises:
        UserError: a line lacks something or has a value of another kind, or a note is damaged.
    """
    legs: list[Leg] = []
    for line in files.read_json_lines(path)[0]:
        if line.get("event") == "start":
            legs.append(typed.read(_Start, line, path).leg())
        elif line.get("event") == "end" and legs and legs[-1].job == line.get("job"):
            legs[-1] = typed.read(_End, line, path).of(legs[-1])
    return [_as_noted(leg, _note(notes, leg)) for leg in legs] if notes else legs


@dataclass(frozen=True)
class _Start:
    """A line of a job that starts."""

    job: str
    partition: str
    cluster: str
    node: str
    world_size: int
    time: Moment
    clips: int

    def leg(self) -> Leg:
        """The job's part so far."""
        return Leg(self.job, self.partition, self.cluster, self.node, self.world_size, self.time, self.clips)


@dataclass(frozen=True)
class _End:
    """A line of a job that has ended."""

    time: Moment | None
    why: str
    clips: int
    lost_clips: int

    def of(self, leg: Leg) -> Leg:
        """The job's part with its end."""
        return replace(leg, end=self.time, why=self.why, last_clips=self.clips, lost_clips=self.lost_clips)


@dataclass(frozen=True)
class _Note:
    """What the script of a job has left beside its logs."""

    why: str
    time: Moment | None
    outside: bool = False


def _note(notes: Path, leg: Leg) -> _Note | None:
    path = notes / leg.cluster / f"{leg.job}_end.json"
    return typed.read(_Note, files.read_json(path), path, "it") if path.exists() else None


def _as_noted(leg: Leg, note: _Note | None) -> Leg:
    if note is None or not (leg.why is None or note.outside):
        return leg
    return replace(leg, why=note.why, end=leg.end or note.time)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
