"""Seconds of training that one save costs: python tests/benchmarks/checkpoint.py [--gigabytes 1.5] [--folder DIR].

Rounds of four ways to keep the same state (model, average and AdamW's moments of a transformer-like list of tensors),
side by side in one process: a plain copy in memory, the saver of this project, `torch.save`, and safetensors alone.
What counts is how long training waits; how long it takes until the checkpoint could be resumed from is told too.
"""

import argparse
import datetime
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))

from jobs.saver import Saver
from vdt_hpc.dist import ProcessGroup, Task, device_of
from vdt_hpc.experiment.config import TrainConfig
from vdt_hpc.store.checkpoint import Provenance

PARTS = {"model": 1, "ema": 1, "optimizer": 2}
"""Tensors of the weights' size in each part."""


def state_of(num_bytes, device):
    """A state like a trainer's: many square matrices and vectors of 1152, fp32."""
    width, parts = 1152, {part: {} for part in PARTS}
    per_layer = 4 * sum(PARTS.values()) * (width * width + width)
    for layer in range(max(1, round(num_bytes / per_layer))):
        for part, copies in PARTS.items():
            for copy in range(copies):
                parts[part][f"{layer}.{copy}.weight"] = torch.randn(width, width, device=device)
                parts[part][f"{layer}.{copy}.bias"] = torch.randn(width, device=device)
    return parts


def timed(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def wait_for(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rounds(state, device, folder, num_rounds):
    """Seconds of each way, a list per way; the first round warms up and is not counted."""
    group = ProcessGroup(Task(), folder)
    saver = Saver(folder / "checkpoints", state, group, TrainConfig(keep_checkpoints=1), "bench", lambda: None)
    tensors = {f"{part}.{name}": tensor for part, named in state.items() for name, tensor in named.items()}
    copies = {name: torch.zeros(tensor.shape, pin_memory=device.type == "cuda") for name, tensor in tensors.items()}

    def copy():
        for name, tensor in tensors.items():
            copies[name].copy_(tensor, non_blocking=True)
        wait_for(device)

    def save_flushed(write, path):
        write(tensors, path)
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        path.unlink()

    found = {name: [] for name in ("memory copy", "saver: waiting", "saver: durable", "torch.save", "safetensors")}
    for number in range(num_rounds + 1):
        provenance = Provenance(number, "bench", "none", "none", platform.node(), 1)
        seconds = {"memory copy": timed(copy)}
        started = time.perf_counter()
        seconds["saver: waiting"] = timed(lambda provenance=provenance: saver.start(provenance))
        saver.finish()
        seconds["saver: durable"] = time.perf_counter() - started
        seconds["torch.save"] = timed(lambda: save_flushed(torch.save, folder / "a.pt"))
        seconds["safetensors"] = timed(lambda: save_flushed(save_file, folder / "a.safetensors"))
        if number:
            for name, value in seconds.items():
                found[name].append(value)
    saver.close()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where checkpoints would lie (default: a temporary folder)")
    options = parser.parse_args()
    device = device_of(Task())
    state = state_of(options.gigabytes * 1e9, device)
    gigabytes = sum(tensor.nbytes for named in state.values() for tensor in named.values()) / 1e9
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = rounds(state, device, Path(folder), options.rounds)
    hardware = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    print(f"{datetime.date.today()}, {hardware}, state of {gigabytes:.2f} GB, medians of {options.rounds} rounds")
    copy = statistics.median(found["memory copy"])
    for name, values in found.items():
        median = statistics.median(values)
        spread = f"(from {min(values):.3f} to {max(values):.3f})"
        print(f"{name:16} {median:7.3f} s   {median / copy:6.2f} x the copy   {spread}")


if __name__ == "__main__":
    main()
