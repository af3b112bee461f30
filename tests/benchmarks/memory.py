"""Memory of one training step by micro-batch: python tests/benchmarks/memory.py [--run cityscapes] [--clips 1 2 4 8].

Predicted by vdt_hpc/experiment/memory.py, counted while the step runs on tensors without numbers, and on a GPU measured
by the allocator: Trainer's real step on made-up latents, its largest allocation. Without and with checkpointing.
"""

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import torch

from jobs.trainer import Trainer
from tests.benchmarks.training import made_up_batch
from tests.experiment import allocations
from tests.jobs import made_up
from vdt_hpc.commandline import load_run
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.experiment.memory import state_bytes, step_bytes
from vdt_hpc.experiment.partition import plan_batch


def measured(config, num_clips, checkpointing):
    """The allocator's peak on a GPU over two steps; None where they do not fit."""
    config = config.model_copy(update={"batch": config.batch.model_copy(update={"global_clips": num_clips})})
    with tempfile.TemporaryDirectory() as folder:
        partition = made_up.partition(folder, max_clips_per_gpu=num_clips)
        group = ProcessGroup(Task(), Path(folder))
        trainer = Trainer(config, plan_batch(config.batch, partition), group)
    trainer.model.checkpointing = checkpointing
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        trainer.gradients([made_up_batch(config)])
        trainer.update(1e-4, 0.999)
    fits = trainer.max_batch_clips == num_clips and not trainer.fault
    peak = torch.cuda.max_memory_allocated()
    del trainer
    torch.cuda.empty_cache()
    return peak if fits else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="cityscapes")
    parser.add_argument("--clips", type=int, nargs="+", default=[1, 2, 4, 8, 13, 16, 32])
    options = parser.parse_args()
    config = load_run(options.run)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"{datetime.date.today()}, torch {torch.__version__}, {device}; run {options.run}, {config.train.precision}")
    print(
        f"weights, gradients, optimizer and average: {state_bytes(config) / 1e9:.2f} GB, part of every number below\n"
    )
    print(f"{'clips':>5} {'checkpointing':>14} {'predicted':>13} {'counted':>13} {'on the GPU':>13}")
    for checkpointing in (False, True):
        for num_clips in options.clips:
            columns = [step_bytes(config, num_clips, checkpointing)]
            columns.append(allocations.peak_of_step(config, num_clips, checkpointing))
            columns.append(measured(config, num_clips, checkpointing) if torch.cuda.is_available() else None)
            told = " ".join(f"{'-' if each is None else f'{each / 1e9:.2f} GB':>13}" for each in columns)
            print(f"{num_clips:>5} {'yes' if checkpointing else 'no':>14} {told}", flush=True)


if __name__ == "__main__":
    main()
