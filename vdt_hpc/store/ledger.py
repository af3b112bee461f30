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

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.files import Json

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
            told = _note(self._notes, legs[-1]) or {"why": KILLED, "time": None}
            self._append(
                event="end", job=legs[-1].job, time=told["time"], why=told["why"], clips=furthest,
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
        UserError: a note is damaged.
    """
    legs: list[Leg] = []
    for line in files.read_json_lines(path)[0]:
        if line.get("event") == "start":
            legs.append(_started(line))
        elif line.get("event") == "end" and legs and legs[-1].job == line.get("job"):
            legs[-1] = _ended(legs[-1], line)
    return [_as_noted(leg, _note(notes, leg)) for leg in legs] if notes else legs


def _note(notes: Path, leg: Leg) -> Json | None:
    """What the script of a job has left beside its logs."""
    path = notes / leg.cluster / f"{leg.job}_end.json"
    return files.read_json(path) if path.exists() else None


def _as_noted(leg: Leg, note: Json | None) -> Leg:
    if note is None or not (leg.why is None or note.get("outside")):
        return leg
    return replace(leg, why=str(note["why"]), end=leg.end or note["time"])


def _started(line: Json) -> Leg:
    return Leg(
        job=str(line["job"]), partition=str(line["partition"]), cluster=str(line["cluster"]), node=str(line["node"]),
        world_size=int(line["world_size"]), start=str(line["time"]), first_clips=int(line["clips"]),
    )  # fmt: skip


def _ended(leg: Leg, line: Json) -> Leg:
    return replace(
        leg, end=line["time"], why=str(line["why"]), last_clips=int(line["clips"]), lost_clips=int(line["lost_clips"])
    )


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
