"""An observer's judgement of the current lease: whether its owner has given it up, is gone, or has been silent."""

import time

from vdt_hpc.lease.numbered import Entry


def clock_s() -> float:
    """Seconds on a clock of this machine that never jumps and that runs on while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Watch:
    """What one observer has seen, over repeated looks.

    Silence is counted on the observer's own clock, from look to look, while the file's time does not change: clocks
    of two machines are never compared. One gap between looks counts for at most a quarter of `timeout_s`, so that an
    observer who was itself asleep (a suspended laptop, with the owner on it) looks again before it judges.

    Args:
        timeout_s: an owner silent for that many seconds is judged dead.
    """

    def __init__(self, timeout_s: float) -> None:
        self.silent_s = 0.0
        """Seconds without a sign of life from the owner, as far as observed."""
        self._longest_gap_s = timeout_s / 4
        self._timeout_s = timeout_s
        self._seen: Entry | None = None
        self._looked_s = 0.0
        self._asked_s = 0.0
        self._is_gone = False

    def judge(self, entry: Entry) -> bool:
        """True when the lease may be taken: released, its owner gone, or its owner silent for too long."""
        now_s = clock_s()
        is_new = self._seen is None or self._seen.number != entry.number
        if self._seen is None or is_new or self._seen.touched_ns != entry.touched_ns:
            self.silent_s = 0.0
        else:
            self.silent_s += min(now_s - self._looked_s, self._longest_gap_s)
        self._seen, self._looked_s = entry, now_s
        if entry.released or self.silent_s >= self._timeout_s:
            return True
        # Asking may cost the cluster's controller something, so not at every look; who is gone stays gone.
        if is_new or (not self._is_gone and now_s - self._asked_s >= self._longest_gap_s):
            self._is_gone = entry.owner.is_gone() is True
            self._asked_s = clock_s()
        return self._is_gone
