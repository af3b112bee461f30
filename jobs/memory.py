"""Running out of memory on a batch: how it is told from other errors, what to do then, and how much is in use."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from vdt_hpc.errors import UserError

Made = TypeVar("Made")


def is_out_of_memory(error: BaseException) -> bool:
    """True if an allocation failed, on a GPU or on the CPU (whose allocator raises a plain RuntimeError)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class AtOnce:
    """How many of something pass a device at once: half as many after each time that they did not fit into its memory.

    Args:
        what: one of them, such as `clip`.
        field: the setting that says how many, such as `sample.clips_per_batch`.
        most: its value.
        device: where they pass.
    """

    def __init__(self, what: str, field: str, most: int, device: torch.device) -> None:
        self._what, self._field, self._most, self._device = what, field, most, device

    def fitting(self, left: int, make: Callable[[int], Made]) -> Made:
        """What `make` makes of as many as fit; says in one line when they become fewer.

        Args:
            left: how many there are; at most so many are taken.
            make: called with how many to take, again and again until they fit.

        Raises:
            UserError: not even one fits.
        """
        while True:
            tried = min(self._most, left)
            try:
                return make(tried)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._halve(tried)  # not before the traceback, which holds the failed pass's tensors, has ended

    def _halve(self, tried: int) -> None:
        if tried == 1:
            raise UserError(
                f"out of memory with a single {self._what}; use a partition with more memory for each of its tasks"
            )
        self._most = -(-tried // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        print(
            f"out of memory with {tried} {self._what}s at once: going on with {self._most} at once; "
            f"set {self._field}: {self._most}",
            flush=True,
        )


def peak_memory_gb(device: torch.device) -> float:
    """Largest memory of tensors on a GPU since the last call, or this process's memory on the CPU; 10^9 bytes."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak / 1e9
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024 / 1e9
