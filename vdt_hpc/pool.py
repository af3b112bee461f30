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
from typing import TypeVar

from vdt_hpc.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)


@contextlib.contextmanager
def worker_processes(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh (spawned) processes; on an error the work that has not begun is dropped.

    Raises:
        UserError: a worker was killed from outside.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin_worker)
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


def _begin_worker() -> None:
    """Leave stops to the parent, and leave with it.

    Slurm signals every process of a task, and a terminal every process of a command. Workers of a killed parent would
    wait for work for ever.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
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
