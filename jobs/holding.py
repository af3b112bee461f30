"""The run's lease, as the ranks of a job see it: rank 0 holds it, and all of them wait, train or leave together."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vdt_hpc.dist import ProcessGroup, seconds_left
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.lease.lease import Lease
from vdt_hpc.lease.owner import Owner

POLL_S = 0.5
HELD, WAITING = "held", "waiting"


class RunLease:
    """The lease of a run that this job holds.

    Args:
        lease: on rank 0; None on the others, which do what rank 0 says.
    """

    def __init__(self, lease: Lease | None) -> None:
        self._lease = lease
        self.token = f"{lease.number:06d}" if lease else ""
        """A name that no other writer of the run has (rank 0)."""

    @property
    def lost(self) -> bool:
        """True on rank 0 if another job has taken the run over."""
        return self._lease is not None and self._lease.lost

    def check(self) -> None:
        """Look again, right before something is published (rank 0).

        Raises:
            LeaseLost: another job has taken the run over.
        """
        assert self._lease is not None
        self._lease.check()


@contextlib.contextmanager
def hold(
    folder: Path, partition: Partition, group: ProcessGroup, stop: Callable[[], bool]
) -> Iterator[RunLease | None]:
    """Hold a run's lease for a block; yields None if a stop came while another job had it. Every rank must call it.

    On this machine the job waits for its turn. On Slurm, where waiting would keep GPUs idle, it leaves as soon as it
    has seen that the other job lives.

    Raises:
        UserError: another job trains the run, or the folder cannot be written.
    """
    lease = None
    if group.task.rank == 0:
        lease = Lease(folder, Owner.this_process(partition.name), partition.lease_timeout_s)
    try:
        yield RunLease(lease) if _acquire(lease, partition, group, stop) else None
    finally:
        if lease:
            lease.release()


def _acquire(lease: Lease | None, partition: Partition, group: ProcessGroup, stop: Callable[[], bool]) -> bool:
    look = _Look(lease, partition) if lease else None
    while True:
        word = group.broadcast_text(look() if look else "")
        if word == HELD:
            return True
        if word != WAITING:
            raise UserError(word)
        time_is_up = seconds_left(partition.timeout_min) < partition.save_margin_s
        if group.any(stop() or time_is_up):
            return False
        time.sleep(POLL_S)


class _Look:
    """What rank 0 finds each time that it tries."""

    def __init__(self, lease: Lease, partition: Partition) -> None:
        self._lease, self._leaves = lease, partition.executor == "slurm"
        self._started = time.monotonic()
        self._told = False

    def __call__(self) -> str:
        """HELD, WAITING, or one line for the user that ends the job."""
        try:
            if self._lease.try_acquire():
                return HELD
        except UserError as error:
            return str(error)
        who = self._lease.holder.describe() if self._lease.holder else "another job"
        seen_alive = self._lease.silent_s < time.monotonic() - self._started - POLL_S
        if self._leaves and seen_alive:
            return f"this run is being trained by {who}; this job leaves it alone"
        if not self._told:
            self._told = True
            print(f"this run is being trained by {who}; waiting until it ends or shows no sign of life", flush=True)
        return WAITING
