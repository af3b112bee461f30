"""The processes of a job on this machine, and the signals that ask for its end."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)


class LocalTasks:
    """The tasks that a controller process of submitit has started.

    Args:
        pid: process id of the job: the controller itself or, where there are set-up lines, its shell.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def running(self) -> list[int]:
        """Process ids of the tasks that run now."""
        return _children(self._controller())

    def terminate(self) -> None:
        """Ask all tasks to save and end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._controller(), signal.SIGTERM)  # which passes it on

    def kill(self) -> None:
        """Kill all tasks; their controller then ends by itself."""
        for task in self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(task, signal.SIGKILL)

    def _controller(self) -> int:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            program = Path(f"/proc/{self._pid}/cmdline").read_bytes().split(b"\0")[0]
            children = _children(self._pid)
            if program != os.fsencode(sys.executable) and children:
                return children[0]
        return self._pid


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect the signals that ask for a stop, instead of dying of them; those that were ignored stay ignored."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    taken = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in taken}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start children that do not hear the terminal's Ctrl-C: they are asked to stop by TERM, which lets them save.

    What this process is sent meanwhile is not lost: it comes at the latest afterwards.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit the mask
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _children(pid: int) -> list[int]:
    """Process ids of a process's children, as Linux lists them under /proc."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
