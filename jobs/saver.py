"""Checkpoints written in the background: training waits only while its state is copied off the device.

A save goes through three phases. (1) Every rank copies its share of the state to memory of its own, which is all that
training waits for. (2) A thread of every rank writes its share; with each update the ranks tell each other how far they
are. (3) When all have written, a thread of rank 0 publishes the checkpoint, if the run is still this job's, and removes
old ones. The next save, or the end, waits for the one before it.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vdt_hpc.dist import ProcessGroup
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import TrainConfig
from vdt_hpc.lease.lease import LeaseLost
from vdt_hpc.store import checkpoint_writing as writing
from vdt_hpc.store.checkpoint import Provenance

State = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Saved:
    """A checkpoint that has been published."""

    clips_seen: int
    blocked_s: float
    """Seconds that training waited: for the save before it, and for the copy."""
    durable_s: float
    """Seconds from the start until it was published."""


class Saver:
    """Saves the state of a run; every rank has one, and calls the same methods in the same order.

    Args:
        folder: the run's folder of checkpoints.
        state: the live tensors of every part; each call of `start` copies them as they are then.
        group: the ranks.
        keep: which checkpoints stay.
        writer: a name that no other writer of the run has; rank 0's is used.
        check: raises LeaseLost if this process may not publish; called on rank 0.
    """

    def __init__(
        self, folder: Path, state: State, group: ProcessGroup, keep: TrainConfig, writer: str,
        check: Callable[[], None],
    ) -> None:  # fmt: skip
        self._folder, self._group, self._keep, self._writer, self._check = folder, group, keep, writer, check
        self._rank, self._num_ranks = group.task.rank, group.task.world_size
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="saver")
        self._copy = self._pool.submit(HostCopy, share_of(state, self._rank, self._num_ranks))
        self._future: Future[object] | None = None
        """Of this rank's writing, then, on rank 0, of the publication."""
        self._phase = "idle"
        self._started = 0.0
        self._told: set[str] = set()
        """Lines on old checkpoints that cannot be removed; each is said once."""
        self.published: deque[Saved] = deque()
        """What has been published since it was last emptied (rank 0)."""

    def start(self, provenance: Provenance) -> None:
        """Save the state as it is now; returns when it has been copied.

        Raises:
            UserError: this save cannot begin, or the one before it failed.
        """
        started = time.monotonic()
        self.finish()
        copy = self._copy.result()
        copy.take()
        self._started = started
        self._provenance, self._staging = provenance, self._stage(provenance.clips_seen)
        self._future = self._pool.submit(writing.write_share, self._staging, copy.tensors, self._rank, self._num_ranks)
        self._phase = "writing"
        self._blocked_s = time.monotonic() - self._started

    @property
    def written(self) -> bool:
        """True if this rank's share is on the disk and the others' are waited for."""
        return self._phase == "writing" and self._done() and self._fault() == ""

    @property
    def failed(self) -> bool:
        """True if something went wrong in the background of this rank."""
        return self._done() and self._fault() != ""

    def settle(self, num_written: int, num_failed: int) -> None:
        """Go on to the next phase, if all ranks agree on it: called after every update.

        Args:
            num_written, num_failed: ranks that are in that state.

        Raises:
            UserError: the save failed on some rank.
        """
        if num_failed:
            self._give_up()
        if self._phase == "writing" and num_written == self._num_ranks:
            self._publish()

    def finish(self) -> None:
        """Wait until the save at hand has been published.

        Raises:
            UserError: it failed on some rank.
        """
        if self._phase == "writing":
            self._wait()
            self._publish()
        if self._phase == "publishing":
            self._wait()
        self._phase, self._future = "idle", None

    def close(self) -> None:
        """End the thread; a save that was not published stays unpublished."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _stage(self, clips_seen: int) -> Path:
        """Rank 0 makes the staging folder and tells the others, or why it cannot."""
        word = ""
        if self._rank == 0:
            try:
                word = json.dumps({"path": str(writing.stage(self._folder, clips_seen, self._writer))})
            except UserError as error:
                word = json.dumps({"fault": str(error)})
        told: dict[str, str] = json.loads(self._group.broadcast_text(word))
        if "fault" in told:
            raise UserError(told["fault"])
        return Path(told["path"])

    def _publish(self) -> None:
        assert self._future is not None
        marks = [json.loads(text) for text in self._group.gather_texts(json.dumps(self._future.result()))]
        self._phase, self._future = "publishing", None
        if self._rank == 0:
            merged = {file: mark for own in marks for file, mark in own.items()}
            saved = Saved(self._provenance.clips_seen, self._blocked_s, 0.0)
            self._future = self._pool.submit(self._publish_here, merged, saved)

    def _publish_here(self, marks: writing.Marks, saved: Saved) -> None:
        try:
            self._check()  # spares the work; the check that counts is the one right before the rename
            writing.publish(self._staging, self._provenance, marks, self._check)
        except FileNotFoundError:
            self._check()  # whoever took the run over took the staging folder away
            raise
        self.published.append(replace(saved, durable_s=time.monotonic() - self._started))
        for line in writing.retain(self._folder, self._keep.keep_checkpoints, self._keep.keep_every_clips):
            if line not in self._told:
                self._told.add(line)
                print(line, flush=True)

    def _wait(self) -> None:
        """Wait for the threads of all ranks; raise what went wrong on any of them."""
        if self._future is not None:
            self._future.exception()
        if self._group.any(self.failed):
            self._give_up()

    def _done(self) -> bool:
        return self._future is not None and self._future.done()

    def _fault(self) -> str:
        """One line for the user, empty if nothing went wrong; an error that is nobody's mistake is raised."""
        assert self._future is not None
        error = self._future.exception()
        if error is None:
            return ""
        if isinstance(error, UserError | LeaseLost):
            return str(error)
        if isinstance(error, writing.NotFinite):
            return (
                f"{error} is no longer finite at clip {self._provenance.clips_seen:,}, so nothing was saved; "
                "lower optim.lr or clip gradients harder"
            )
        if isinstance(error, FileNotFoundError):
            return f"{self._staging} has vanished while it was written; does another job train this run?"
        raise error

    def _give_up(self) -> None:
        faults = self._group.gather_texts(self._fault() if self._done() else "")
        self._phase, self._future = "idle", None
        if self._rank == 0:
            writing.remove(self._staging)
        raise UserError(next(fault for fault in faults if fault))


class HostCopy:
    """Memory for a copy of some tensors, kept from save to save.

    Args:
        live: name -> tensor of every part, on any device.
    """

    def __init__(self, live: State) -> None:
        self._live = live
        # Filled once, so that the first copy does not pay for the pages.
        self.tensors = {
            part: {name: _host_like(tensor).zero_() for name, tensor in tensors.items()}
            for part, tensors in live.items()
        }

    @torch.no_grad()
    def take(self) -> None:
        """Copy the live tensors as they are now."""
        devices = set()
        for part, tensors in self._live.items():
            for name, tensor in tensors.items():
                self.tensors[part][name].copy_(tensor, non_blocking=True)
                devices.add(tensor.device)
        for device in devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)


def share_of(state: State, rank: int, num_ranks: int) -> dict[str, dict[str, Tensor]]:
    """What a rank saves of every part: neighbouring tensors, about the same number of bytes for every rank."""
    shares: dict[str, dict[str, Tensor]] = {}
    for part, tensors in state.items():
        total, before = sum(tensor.nbytes for tensor in tensors.values()), 0
        shares[part] = {}
        for name, tensor in tensors.items():
            middle = before + tensor.nbytes / 2
            before += tensor.nbytes
            if min(int(middle / total * num_ranks), num_ranks - 1) == rank:
                shares[part][name] = tensor.detach()
    return shares


def _host_like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.device.type == "cuda")
