"""The course of a run in time: which jobs trained it, how each ended, and what that took on each partition.

From the run's lineage (`vdt_hpc.store.ledger`) and the times in its training log. Where a job left no end, its time is
bounded: from below by the last line that it left in the log, from above by the start of the next job. Of a killed job
the log keeps nothing beyond the checkpoint that the next one went on from, so the truth lies between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from vdt_hpc import files
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.store import ledger
from vdt_hpc.store.asked import Asked, asked
from vdt_hpc.store.ledger import Leg

COMPLETE, STOPPED, CRASHED, LOST, OPEN = "complete", "stopped", "crashed", "lost", "no end told"
HOW = {
    COMPLETE: "complete",
    STOPPED: "stopped, saved",
    CRASHED: "crashed",
    LOST: "killed",
    OPEN: "no end told yet",
}
"""How a job ended, and what a legend says of it."""

Point = tuple[datetime, int]
"""A moment of the training log, and the clips seen."""


@dataclass(frozen=True)
class Part:
    """One job's part in a run."""

    lane: str
    """Its partition; `cluster/partition` where the run was on several clusters."""
    start: datetime
    """UTC."""
    end: datetime | None
    """UTC; None: nobody noted it."""
    at_least: datetime
    """It lasted until then, at least; its end where that is known."""
    at_most: datetime | None
    """It lasted until then, at most; None: nothing bounds it."""
    how: str
    """One of HOW."""
    first_clips: int
    last_clips: int
    lost_clips: int
    """Clips of these that the next job had to train again."""
    num_each: int
    """GPUs, CPU cores or tasks that it held: what `unit` counts."""
    unit: str
    """`GPU`, `CPU` or, where nobody said what a task has, `task`."""

    def hours(self) -> tuple[float, float | None]:
        """Hours of all that it held: at least, and at most (None: not bounded)."""
        least = self.num_each * (self.at_least - self.start).total_seconds() / 3600
        most = None if self.at_most is None else self.num_each * (self.at_most - self.start).total_seconds() / 3600
        return least, most


@dataclass(frozen=True)
class Spent:
    """What a run took of one partition, in one unit."""

    lane: str
    unit: str
    num_jobs: int
    least_hours: float
    most_hours: float | None
    """The same as `least_hours` where every end is known; None: not bounded."""
    clips: int
    """Trained there, with those that were lost."""
    lost_clips: int

    @property
    def clips_per_hour(self) -> tuple[float | None, float | None]:
        """Clips trained per hour, the least and the most that it can be; None: not known, or no time passed."""
        least = self.clips / self.most_hours if self.most_hours else None
        return least, self.clips / self.least_hours if self.least_hours else None


def load(paths: RunPaths) -> list[Part]:
    """The course of a run, oldest first; empty where no job has left a line.

    Raises:
        UserError: the lineage or a job's note is damaged.
    """
    legs = ledger.read(paths.ledger, notes=paths.jobs / "train")
    return parts(legs, [asked(paths, leg) for leg in legs], _points(files.read_json_lines(paths.progress_log)[0]))


def parts(legs: Sequence[Leg], asks: Sequence[Asked], log: Sequence[Point]) -> list[Part]:
    """Each job's part, with bounds where its end is not known.

    Args:
        legs: the lineage, oldest first.
        asks: what each of them asked for.
        log: moments of the training log.
    """
    several = len({leg.cluster for leg in legs}) > 1
    starts = [_moment(leg.start) for leg in legs]
    found = []
    for number, (leg, has) in enumerate(zip(legs, asks, strict=True)):
        start, end = starts[number], _moment(leg.end) if leg.end else None
        following = starts[number + 1] if number + 1 < len(legs) else None
        seen = [point for point in log if point[0] >= start and (following is None or point[0] < following)]
        at_least = end or max((moment for moment, _ in seen), default=start)
        furthest = max((clips for _, clips in seen), default=leg.first_clips)
        unit = "GPU" if has.has_gpus else "CPU" if has.cpus_per_task else "task"
        each = has.cpus_per_task if unit == "CPU" and has.cpus_per_task else 1
        found.append(
            Part(
                lane=f"{leg.cluster or 'no cluster'}/{leg.partition}" if several else leg.partition,
                start=start,
                end=end,
                at_least=at_least,
                at_most=end or following,
                how=_how(leg),
                first_clips=leg.first_clips,
                last_clips=furthest if leg.last_clips is None else leg.last_clips,
                lost_clips=leg.lost_clips,
                num_each=leg.world_size * each,
                unit=unit,
            )
        )
    return found


def spent(course: Sequence[Part]) -> list[Spent]:
    """What a run took of each partition, in the order in which it came there."""
    rows = []
    for lane, unit in dict.fromkeys((part.lane, part.unit) for part in course):
        own = [part for part in course if (part.lane, part.unit) == (lane, unit)]
        hours = [part.hours() for part in own]
        most = [at_most for _, at_most in hours if at_most is not None]
        rows.append(
            Spent(
                lane,
                unit,
                num_jobs=len(own),
                least_hours=sum(least for least, _ in hours),
                most_hours=sum(most) if len(most) == len(hours) else None,
                clips=sum(part.last_clips - part.first_clips for part in own),
                lost_clips=sum(part.lost_clips for part in own),
            )
        )
    return rows


def _how(leg: Leg) -> str:
    if leg.why is None:
        return OPEN
    if leg.why == ledger.COMPLETE:
        return COMPLETE
    if ledger.was_killed(leg.why):
        return LOST
    if ledger.was_stopped(leg.why) or leg.why == "cancelled":
        return LOST if leg.lost_clips or leg.end is None else STOPPED  # asked to end, and killed before it had saved
    return CRASHED


def _points(lines: Sequence[files.Json]) -> list[Point]:
    """Moments of the log; lines without a time are passed over, since they bound nothing."""
    points = []
    for line in lines:
        try:
            points.append((_moment(str(line["time"])), int(line["clips_seen"])))
        except (KeyError, TypeError, ValueError):
            continue
    return points


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=moment.tzinfo or timezone.utc).astimezone(timezone.utc)
