"""Worker processes that end with their parent, and a map that stays a bounded distance ahead of its consumer."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TypeVar

from vdt_hpc.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)


@contextlib.contextmanager
def worker_processes(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh (spawned) processes; on an error the work that has not begun is dropped.

    Stop signals are left to the parent: Slurm signals every process of a task, a terminal every process of a command.

    Raises:
        UserError: a worker was killed from outside.
    """
    with _deaf_children():
        resource_tracker.ensure_running()  # it ignores INT and TERM by itself, but would die of USR2
    pool = ProcessPoolExecutor(num_workers, mp_context=_Context(), initializer=_leave_with_parent)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(pool, ended), daemon=True).start()
    try:
        yield pool
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed, perhaps for want of memory; run the same command again to go on"
        ) from None
    finally:
        ended.set()
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Start children that stop signals do not reach, from their first moment to their last.

    They inherit the mask of the thread that starts them. What this process is sent meanwhile comes at the latest
    afterwards.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


class _Worker(SpawnProcess):
    """A process of the pool: the executor starts them one by one, as work comes in."""

    def start(self) -> None:
        with _deaf_children():
            super().start()

    def terminate(self) -> None:
        """End it, as the executor does with those that are left when one has died: they would not hear TERM."""
        self.kill()


class _Context(SpawnContext):
    Process = _Worker


def _watch(pool: ProcessPoolExecutor, ended: threading.Event) -> None:
    """Break a pool one of whose workers died in the middle of handing over a result.

    The executor then waits for the rest for ever: others hold the pipe open, this process among them. Python has no
    public way to that pipe.
    """
    while not ended.wait(1.0):
        workers = list((pool._processes or {}).values())
        if any(worker.exitcode is not None for worker in workers):
            if ended.wait(2.0):  # mostly, the executor has noticed
                return
            for worker in workers:
                worker.kill()
            pool._result_queue._writer.close()  # type: ignore[attr-defined]
            return


def _leave_with_parent() -> None:
    """Have a worker end when its parent does: those of a killed one would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def map_ahead(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Results in the order of the items, with at most ``ahead`` of them running or waiting to be taken."""
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
