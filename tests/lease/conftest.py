"""Other processes that take part: each watches or owns a lease, and does what it is told."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time

import pytest

from vdt_hpc.lease.lease import Lease, LeaseLost
from vdt_hpc.lease.owner import Owner

FORK = multiprocessing.get_context("fork")


def obey(pipe, folder, timeout_s, changes):
    """The other process: one word in, one answer out."""
    owner = dataclasses.replace(Owner.this_process("a100"), **changes)
    lease = Lease(folder, owner, timeout_s)

    def check():
        try:
            lease.check()
        except LeaseLost as error:
            return str(error)

    words = {
        "acquire": lease.try_acquire,
        "check": check,
        "release": lease.release,
        "lost": lambda: lease.lost,
        "number": lambda: lease.number,
        "owner": lambda: owner,
    }
    while True:
        pipe.send(words[pipe.recv()]())


class Other:
    """A process of its own, with a lease object of its own."""

    def __init__(self, folder, timeout_s, **changes):
        self._pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=obey, args=(theirs, folder, timeout_s, changes), daemon=True)
        self.process.start()

    def ask(self, word):
        self._pipe.send(word)
        assert self._pipe.poll(30), f"no answer to {word!r}"
        return self._pipe.recv()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.join()


@pytest.fixture
def other(tmp_path):
    """Starts other processes on this test's lease; they end with the test."""
    started = []

    def start(timeout_s=60, **changes):
        started.append(Other(tmp_path / "lease", timeout_s, **changes))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.kill()


@pytest.fixture
def lease(tmp_path):
    """Makes lease objects of this process; they are released with the test."""
    made = []

    def make(timeout_s=60.0, **changes):
        owner = dataclasses.replace(Owner.this_process("local"), **changes)
        made.append(Lease(tmp_path / "lease", owner, timeout_s))
        return made[-1]

    yield make
    for one in made:
        one.release()


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SQUEUE_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def wait_for():
    def wait(condition, limit_s=30.0):
        """Seconds until the condition holds."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < limit_s, "waited in vain"
            time.sleep(0.02)
        return time.monotonic() - started

    return wait
