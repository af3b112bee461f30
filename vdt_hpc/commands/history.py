"""What the training log of a run has measured: speeds and saves, and where (see `jobs.progress_log`)."""

import contextlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc import files

RECENT_SPEEDS = 50
"""Lines of the log whose median is a speed: the latest of a partition, so that what has changed counts."""


@dataclass(frozen=True)
class Speed:
    """One `train` line."""

    partition: str
    world_size: int
    clips_per_s: float
    share_of_peak: float | None
    """Of the GPUs' dense bf16 peak; None where the profile did not state it."""


@dataclass(frozen=True)
class Save:
    """One `checkpoint` line."""

    partition: str
    world_size: int
    durable_s: float
    """Seconds from its start, the wait for the save before it included, until it could be resumed from."""


@dataclass(frozen=True)
class History:
    """What a training log has measured, oldest first."""

    speeds: tuple[Speed, ...]
    saves: tuple[Save, ...]
    is_complete: bool
    """True if training has come to its end."""

    def speed(self, partition: str, world_size: int) -> float | None:
        """Clips per second on a partition with that many tasks, or None where nothing was measured there."""
        found = [
            each.clips_per_s for each in self.speeds if (each.partition, each.world_size) == (partition, world_size)
        ]
        return statistics.median(found[-RECENT_SPEEDS:]) if found else None

    def share_of_peak(self) -> tuple[str, float] | None:
        """The partition that the run was on last, of those that state a peak, and the share of it that was reached."""
        known = [each for each in self.speeds if each.share_of_peak is not None]
        if not known:
            return None
        last = known[-1].partition
        shares = [each.share_of_peak for each in known if each.partition == last and each.share_of_peak is not None]
        return last, statistics.median(shares[-RECENT_SPEEDS:])


def read(path: Path) -> History:
    """Read `progress.jsonl`; lines that cannot be read, and those before the first start, are passed over."""
    speeds: list[Speed] = []
    saves: list[Save] = []
    partition, world_size, is_complete = "", 0, False
    for line in files.read_json_lines(path)[0]:
        kind = line.get("kind")
        is_complete = is_complete or kind == "end"
        with contextlib.suppress(KeyError, TypeError, ValueError):  # a line that somebody has edited
            if kind == "start":
                partition, world_size = str(line["partition"]), int(line["world_size"])
            elif kind == "train" and partition:
                speeds.append(Speed(partition, world_size, float(line["clips_per_s"]), line.get("mfu")))
            elif kind == "checkpoint" and partition:
                saves.append(Save(partition, world_size, float(line["durable_s"])))
    return History(tuple(speeds), tuple(saves), is_complete)


def largest_save(saves: Sequence[Save], world_size: int) -> float:
    """Seconds that the slowest of some saves would take with that many tasks.

    Fewer tasks write larger shares each; that more of them are faster is not counted on.
    """
    return max(each.durable_s * max(1.0, each.world_size / world_size) for each in saves)
