"""Batches prepared ahead of the step, in background threads."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
MAX_AHEAD = 4
"""Items that are in work or waiting."""
NUM_THREADS = 4
"""More than one, so that reading clip by clip can wait for several clips of a slow file system at once."""


class Ahead(Generic[Item]):
    """Calls a function on numbers in threads, a few ahead, and gives the results in order; use as a context manager.

    Threads, not processes: numpy lets go of the interpreter while it draws, copies and reads, so they cost the step
    little, nothing is pickled, and there are no children that could inherit signal handlers. The system may deliver a
    signal to any thread of the process, also to one of these; Python then only notes it there and runs the handler in
    the main thread, so TERM and USR2 need not be blocked here.

    Args:
        function: called in the threads, several calls at once.
        numbers: what to call it on, in order; gone through in the main thread.
    """

    def __init__(self, function: Callable[[int], Item], numbers: Iterable[int]) -> None:
        self._function, self._numbers = function, iter(numbers)
        self._pending: deque[Future[Item]] = deque()
        self._pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="examples")
        self.waited_s = 0.0
        """Seconds that `next` has waited so far."""

    def __enter__(self) -> "Ahead[Item]":
        for _ in range(MAX_AHEAD):
            self._start_one()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def next(self) -> Item:
        """The next item; an error of the function is raised here. Asking past the end is a programmer's mistake."""
        assert self._pending, "all batches have been asked for"
        started = time.monotonic()
        try:
            return self._pending.popleft().result()
        finally:
            self.waited_s += time.monotonic() - started
            self._start_one()

    def _start_one(self) -> None:
        for number in self._numbers:
            self._pending.append(self._pool.submit(self._function, number))
            return
