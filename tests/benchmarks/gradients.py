"""The gradient sum beside DistributedDataParallel: python tests/benchmarks/gradients.py [--ranks 3] [--width 256].

Two questions, on real gloo processes with one thread each: how long a forward and backward pass with its sum over ranks
takes either way; and whether the first pass of a fresh process gives the same bits as a later one, without which a
resumed run cannot be bit for bit the run that never stopped.
"""

import argparse
import datetime
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parents[2]))

from jobs.gradients import GradientSum
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.model.vdt import VDT

BUCKET_BYTES = 2**20


def model_of(width):
    model = VDT(latent_size=16, num_frames=8, channels=4, width=width, depth=4, num_heads=4, patch_size=2)
    model.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in model.parameters():  # adaLN-zero starts with gradients of zero
            weight += 0.02
    return model


class Ours:
    def __init__(self, model, group):
        self._model = model
        self._sum = GradientSum(list(model.parameters()), group, BUCKET_BYTES)

    def one_pass(self, x, times):
        self._sum.begin()
        self._sum.last_pass()
        self._model(x, times).square().mean().backward()
        self._sum.finish()


class Theirs:
    def __init__(self, model, group):
        self._model = DistributedDataParallel(model, gradient_as_bucket_view=True, bucket_cap_mb=BUCKET_BYTES / 2**20)

    def one_pass(self, x, times):
        self._model.zero_grad(set_to_none=True)
        self._model(x, times).square().mean().backward()


def work(rank, num_ranks, width, num_passes, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=num_ranks)
    group = ProcessGroup(Task(), Path(folder))
    group.task = Task(rank=rank, world_size=num_ranks)
    x = torch.randn(2, 8, 4, 16, 16, generator=torch.Generator().manual_seed(rank))
    times = torch.tensor([100, 700])
    ways = {"GradientSum": (Ours, model_of(width)), "DDP": (Theirs, model_of(width))}
    runners = {name: kind(model, group) for name, (kind, model) in ways.items()}
    seconds, first, equal = {name: [] for name in ways}, {}, {}
    for number in range(num_passes):
        for name, runner in runners.items():
            distributed.barrier()
            started = time.perf_counter()
            runner.one_pass(x, times)
            seconds[name].append(time.perf_counter() - started)
            found = [weight.grad.clone() for weight in ways[name][1].parameters()]
            first.setdefault(name, found)
            if number:
                equal[name] = all(torch.equal(one, other) for one, other in zip(first[name], found, strict=True))
    if rank == 0:
        size = sum(weight.numel() for weight in ways["DDP"][1].parameters()) * 4 / 1e6
        print(f"{datetime.date.today()}, {num_ranks} gloo ranks, gradients of {size:.0f} MB, {num_passes} passes")
        medians = {name: statistics.median(values[2:]) for name, values in seconds.items()}
        for name, median in medians.items():
            ratio = median / medians["DDP"]
            print(
                f"{name:12} {median:.3f} s a pass ({ratio:.2f} x DDP)   first pass bit for bit as later: {equal[name]}"
            )
    distributed.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--passes", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(
            work, (options.ranks, options.width, options.passes, folder), nprocs=options.ranks, join=True
        )


if __name__ == "__main__":
    main()
