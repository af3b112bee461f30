"""How a task hears that it is to end: signals set a flag, long loops ask it and end cleanly."""

import os
import signal
from types import FrameType


class Stopped(Exception):
    """Work ended before its time because a signal asked for it; what was finished is kept."""


class StopFlag:
    """Set by TERM or USR2; the handler does nothing else."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Name of the signal that asked for the stop, or None."""
        self._pid = os.getpid()

    def install(self) -> "StopFlag":
        """Take over TERM and USR2 in this process (its forked children ignore them)."""
        signal.signal(signal.SIGTERM, self._set)
        signal.signal(signal.SIGUSR2, self._set)
        return self

    def check(self) -> None:
        """Go no further once it is set.

        Raises:
            Stopped: it is.
        """
        if self:
            raise Stopped

    def _set(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid:
            self.reason = signal.Signals(number).name

    def __bool__(self) -> bool:
        return self.reason is not None
