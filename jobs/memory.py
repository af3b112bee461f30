"""Running out of memory on a batch: how it is told from other errors, and how much memory is in use."""

from pathlib import Path

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """True if an allocation failed, on a GPU or on the CPU (whose allocator raises a plain RuntimeError)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def peak_memory_gb(device: torch.device) -> float:
    """Largest memory of tensors on a GPU since the last call, or this process's memory on the CPU; 10^9 bytes."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak / 1e9
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024 / 1e9
