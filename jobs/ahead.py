"""Batches prepared ahead of the step, in a background thread."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
MAX_AHEAD = 4


class Ahead(Generic[Item]):
    """Runs a source of items in a thread, a few items ahead; use as a context manager.

    numpy lets go of the interpreter while it draws and copies, so the thread costs the step little, and a thread
    inherits no signal handlers.

    Args:
        source: called in the thread; yields the items.
    """

    def __init__(self, source: Callable[[], Iterator[Item]]) -> None:
        self._source = source
        self._items: queue.Queue[Item | BaseException | None] = queue.Queue(MAX_AHEAD)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="examples", daemon=True)
        self.waited_s = 0.0
        """Seconds that `next` has waited so far."""

    def __enter__(self) -> "Ahead[Item]":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(0.05)

    def next(self) -> Item:
        """The next item; an error of the source is raised here. Asking past the end is a programmer's mistake."""
        started = time.monotonic()
        item = self._items.get()
        self.waited_s += time.monotonic() - started
        if isinstance(item, BaseException):
            raise item
        assert item is not None, "the source of batches has ended"
        return item

    def _work(self) -> None:
        last: BaseException | None = None
        try:
            for item in self._source():
                self._items.put(item)
                if self._closing.is_set():
                    return
        except BaseException as error:  # handed to the main thread, which raises it
            last = error
        self._items.put(last)

    def _drain(self) -> None:
        while not self._items.empty():
            self._items.get_nowait()
