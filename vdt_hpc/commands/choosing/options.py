"""One way to run a job, what it costs, and which of several is the best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vdt_hpc.commands.choosing.speed import Speed
from vdt_hpc.experiment.partition import Partition

SAME_S = 60.0
"""Waits, and ends, that differ by less are the same: the queue's estimates are no better."""


@dataclass(frozen=True)
class Option:
    """One profile, and what choosing it would mean."""

    partition: Partition
    why_not: str = ""
    """Why it cannot be chosen; empty if it can."""
    wait_s: float | None = None
    """Seconds until it would start; None: Slurm cannot tell."""
    doubt: str = ""
    """Why Slurm cannot tell."""
    speed: Speed | None = None
    """Of training; None: unknown, or no training is left to do."""
    num_jobs: int = 1
    """Jobs of one time limit each that the training takes."""
    end_s: float | None = None
    """Seconds until the training would be complete; None: unknown, or nothing to train."""

    @property
    def peak_tflops(self) -> float:
        """Peak of all its GPUs, 0 where it is not stated."""
        return self.partition.world_size * (self.partition.peak_bf16_tflops or 0.0)

    def training(self, speed: Speed, clips_left: int) -> "Option":
        """The option with what the training would take; each further job waits as long as the first."""
        work_s = clips_left / speed.clips_per_s
        num_jobs = math.ceil(work_s / (60 * self.partition.timeout_min - self.partition.save_margin_s))
        end_s = None if self.wait_s is None else work_s + num_jobs * self.wait_s
        return replace(self, speed=speed, num_jobs=num_jobs, end_s=end_s)


def best(possible: Sequence[Option], by_end: bool) -> Option:
    """The one that ends, or starts, first; of those that are the same in that, the one with the largest peak."""

    def seconds(option: Option) -> float:
        found = option.end_s if by_end else option.wait_s
        return math.inf if found is None else found

    first = min(seconds(each) for each in possible)
    equals = [each for each in possible if seconds(each) < first + SAME_S or seconds(each) == first]
    return max(equals, key=lambda each: (each.peak_tflops, -seconds(each)))
