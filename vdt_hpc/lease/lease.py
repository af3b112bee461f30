"""The lease of a training run: one writer per run, on shared file systems whose locks cannot be relied upon.

A folder holds numbered files, `000007.json`. The highest number is the current lease and says whose it is.

**Taking it.** Only when the highest file says `released`, when the process table or Slurm's queue says that its owner
is gone, or when its owner has been silent for `timeout_s`. The contender writes a private file, links it to the next
number, and looks again. A link is created by one contender alone; the second look catches a contender who slept
between judging and linking, while the number came and went. The winner then removes the older files. Nobody ever
replaces or removes a file with a higher number than their own.

**Keeping it.** A thread of the owner sets the time of its own file every `timeout_s` / 8. Nothing is written, so a full
disk costs nobody their lease. The file is gone, or there is a higher number: the lease is lost, for good. The file
system has refused for 3/4 of `timeout_s`: lost too, before anybody else may take it.

**What it rests on.** A hard link is created atomically, and setting the time of a removed file fails: true of NFS since
version 3, Lustre and local disks. NFS clients keep names and times of files in a cache, by default for up to a minute.
Hence three habits: observers open the file they look at, which asks the server; the owner's renewal is a request to
the server, which fails as soon as a successor has removed the file, whatever the cache says; creating a name makes
the client forget its list of the folder, so that the second look is a true one. On a mount without these guarantees
(`nocto`), `timeout_s` must exceed the caching time several times over.

**What it does not do.** It does not hold the pen: between `check()` and the rename that publishes something, a process
may be stopped, and may wake up when somebody else owns the run. What fences that writer off is the new owner, who
removes foreign staging folders before it reads the run, so that the late rename finds nothing to rename. A node that
Slurm has given up, but that still reaches the file system, may go on computing until its next renewal; it does not
pass `check()`. A process that holds the interpreter's lock for `timeout_s` is silent, and loses its lease.
"""

import contextlib
import os
import threading
import time
from pathlib import Path

from vdt_hpc.errors import UserError
from vdt_hpc.lease import numbered
from vdt_hpc.lease.numbered import Entry
from vdt_hpc.lease.owner import Owner
from vdt_hpc.lease.watch import Watch, clock_s


class LeaseLost(Exception):
    """This process must write to the run no more; the message is one line that says who has it now."""


def read_holder(folder: Path) -> Owner | None:
    """Who holds the lease by its file, dead or alive; None when it is free or just changing hands.

    Raises:
        UserError: the folder cannot be read.
    """
    found = read_heartbeat(folder)
    return found[0] if found else None


def read_heartbeat(folder: Path) -> tuple[Owner, float] | None:
    """Who holds the lease by its file, and the seconds since that owner's last sign of life, which comes every
    `timeout_s` / 8; None when the lease is free or just changing hands.

    The seconds are between the file server's clock and this machine's: for people to read, not to take a lease by.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        entry = numbered.read_highest(folder)
    except FileNotFoundError:
        return None
    if entry is None or entry.released:
        return None
    return entry.owner, max(0.0, time.time() - entry.touched_ns / 1e9)


class Lease:
    """One process's claim to a run: first it watches, then it owns.

    Args:
        folder: where the numbered files lie; made when the lease is first taken.
        owner: this process.
        timeout_s: how long an owner may be silent, in seconds; the same for all processes that share the folder.
    """

    def __init__(self, folder: Path, owner: Owner, timeout_s: float) -> None:
        assert timeout_s > 0
        self._folder = folder
        self._owner = owner
        self._timeout_s = timeout_s
        self._watch = Watch(timeout_s)
        self._seen: Entry | None = None
        self._number = 0
        self._is_held = False
        self._why_lost: str | None = None
        self._renewed_s = 0.0
        self._renewing = threading.Lock()
        self._stop = threading.Event()

    @property
    def number(self) -> int:
        """Number of the lease that this process has or had last, larger than all before it; 0 before the first."""
        return self._number

    @property
    def holder(self) -> Owner | None:
        """Whose the lease is, by the last look; None when it is free."""
        if self._is_ours:
            return self._owner
        return None if self._seen is None or self._seen.released else self._seen.owner

    @property
    def silent_s(self) -> float:
        """Seconds without a sign of life from the holder, as far as this process has observed it."""
        return clock_s() - self._renewed_s if self._is_ours else self._watch.silent_s

    def try_acquire(self) -> bool:
        """Look once, and take the lease if it is free; True when this process has it, and from then on keeps it.

        Call it again and again, several times per `timeout_s`: an owner's silence shows between two looks. Waits for
        nothing but the file system and, now and then, for `squeue`.

        Raises:
            UserError: the folder cannot be read or written, or the disk is full.
        """
        if self._is_held and not self.lost:
            return True
        try:
            self._seen = numbered.read_highest(self._folder)
        except FileNotFoundError:
            return False
        if self._seen is not None and not self._watch.judge(self._seen):
            return False
        return self._take((self._seen.number if self._seen else 0) + 1)

    @property
    def lost(self) -> bool:
        """Whether this process had the lease and must write no more; cheap enough for every training step.

        The heartbeat's verdict. When the last renewal is long ago, as after a stop of the whole process, the folder is
        looked at before answering.
        """
        if self._is_held and clock_s() - self._renewed_s > self._timeout_s / 2:
            self._renew()
        return self._why_lost is not None

    def check(self) -> None:
        """Look at the folder now; call it right before publishing something.

        Raises:
            LeaseLost: the lease is not, or no longer, this process's.
        """
        self._renew()
        if not self._is_ours:
            raise LeaseLost(self._explanation())

    def release(self) -> None:
        """Give the lease back, if it is still ours, and stop the heartbeat. Calling it again does nothing."""
        self._stop.set()
        # A lost lease is not ours to give back. A disk too full to say so: others find this process gone, or silent.
        with contextlib.suppress(LeaseLost, UserError, OSError):
            self.check()
            numbered.mark_released(self._folder, self._number, self._owner)
        self._is_held = False

    @property
    def _is_ours(self) -> bool:
        return self._is_held and self._why_lost is None

    def _take(self, number: int) -> bool:
        started_s = clock_s()
        if not numbered.create(self._folder, number, self._owner):
            return False
        if numbered.highest_number(self._folder) > number:
            numbered.path_of(self._folder, number).unlink(missing_ok=True)
            return False
        numbered.sweep(self._folder, number)
        self._stop.set()  # of an earlier, lost lease
        self._stop = threading.Event()
        self._number, self._renewed_s = number, started_s
        self._is_held, self._why_lost = True, None
        threading.Thread(target=self._keep, args=(self._stop,), name="lease", daemon=True).start()
        return True

    def _keep(self, stop: threading.Event) -> None:
        while self._why_lost is None and not stop.wait(self._timeout_s / 8):
            self._renew()

    def _renew(self) -> None:
        with self._renewing:  # the heartbeat and the training loop may both want to
            if self._is_ours:
                self._why_lost = self._touch()

    def _touch(self) -> str | None:
        """Show a sign of life in our own file; say why the lease is lost, if it is."""
        started_s = clock_s()
        try:
            os.utime(numbered.path_of(self._folder, self._number))
            self._seen = numbered.read_highest(self._folder)
        except FileNotFoundError:
            return "its file was removed"
        except (OSError, UserError) as error:
            silent_s = started_s - self._renewed_s
            if silent_s < self._timeout_s * 3 / 4:
                return None
            return f"it could not be renewed for {silent_s:.0f} s ({error})"
        # By token, not by number alone: somebody may have removed the folder by hand, and the count began anew.
        if self._seen is None or self._seen.owner.token != self._owner.token:
            return "another process took it"
        self._renewed_s = started_s
        return None

    def _explanation(self) -> str:
        with contextlib.suppress(OSError, UserError):
            self._seen = numbered.read_highest(self._folder)
        run = self._folder.parent
        if self._seen and self._seen.owner.token != self._owner.token and not self._seen.released:
            return f"{run} now belongs to {self._seen.owner.describe()}; this process must not write to it"
        reason = self._why_lost or "it was not taken"
        return f"this process has no lease of {run}: {reason}; it must not write to it"
