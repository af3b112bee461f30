"""The few updates of a run that a rehearsal trains, and this node as the place to train them."""

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import BatchConfig, RunConfig
from vdt_hpc.experiment.partition import Partition, plan_batch
from vdt_hpc.experiment.size import checkpoint_bytes

NUM_UPDATES = 6
NUM_UPDATES_BEFORE_KILL = 3
ACCUMULATION = 2
NUM_CHECKPOINTS = 4
"""Room that is asked for: the undisturbed run's last one, two of the other while it saves, and one more for a job that
trains the run meanwhile."""
NEVER_MIN = 1e9
NO_MEMORY_GB = 1e-9
"""The latents are read clip by clip: a few updates do not repay reading all of them."""
SAVE_MARGIN_S = 1
"""A rehearsal may go on to the end of its allocation: there is nothing to save."""
MINUTES_ASKED = 15


@dataclass(frozen=True)
class ShortRun:
    """A run as short as a rehearsal's, and where it is trained."""

    config: RunConfig
    partition: Partition
    """Tasks of this node."""

    @property
    def step_clips(self) -> int:
        """Clips of one update."""
        return self.config.batch.global_clips

    @property
    def middle_clips(self) -> int:
        """Position of the checkpoint in the middle."""
        return NUM_UPDATES_BEFORE_KILL * self.step_clips

    @property
    def total_clips(self) -> int:
        """Position of the last checkpoint."""
        return NUM_UPDATES * self.step_clips

    def named(self, name: str) -> RunConfig:
        """The configuration under another name."""
        return self.config.model_copy(update={"name": name})

    def rooted(self, root: Path) -> Partition:
        """The place with another root."""
        return self.partition.model_copy(update={"root": str(root)})


def shorten(config: RunConfig, partition: Partition) -> ShortRun:
    """The run's own model, precision and data, for a few updates.

    On GPUs with the run's own micro-batch, by which kernels are chosen; on CPUs with a single clip, which is faster.
    The block is not compiled, which would take longer than the updates. The learning rate is at its peak from the first
    update on, so that a fault in the resumed state shows in the loss.

    Raises:
        UserError: the run's batch cannot be spread over the partition's tasks.
    """
    own = plan_batch(config.batch, partition)
    limit = max(own.micro_batches[0]) if partition.gpus_per_node else 1
    accumulation = min(ACCUMULATION, own.accumulation) if partition.gpus_per_node else ACCUMULATION
    step = partition.world_size * limit * accumulation
    train = config.train.model_copy(
        update={
            "total_clips": NUM_UPDATES * step,
            "checkpoint_every_clips": NUM_UPDATES_BEFORE_KILL * step,
            "checkpoint_every_min": NEVER_MIN,
            "keep_checkpoints": 1,
            "keep_every_clips": None,
            "log_every_clips": step,
            "val_every_clips": NUM_UPDATES * step,
            "num_val_clips": 1,
            "num_strips": 0,
        }
    )
    optim = config.optim.model_copy(update={"warmup_clips": step, "lr": config.optim.lr * own.lr_scale})
    batch = BatchConfig(global_clips=step)
    place = {
        "max_clips_per_gpu": limit, "latents_memory_gb": NO_MEMORY_GB, "save_margin_s": SAVE_MARGIN_S, "compile": False,
    }  # fmt: skip
    return ShortRun(
        config.model_copy(update={"train": train, "optim": optim, "batch": batch}),
        partition.model_copy(update=place),
    )


def on_this_node(partition: Partition) -> Partition:
    """The partition's tasks of one node as processes of this machine, on the GPUs that this process may use.

    Raises:
        UserError: a Slurm partition, and this process is in no job of Slurm's; or not as one task with its GPUs.
    """
    if partition.executor == "slurm":
        if not (os.environ.get("SLURM_JOB_ID") and os.environ.get("SLURMD_NODENAME")):
            raise UserError(
                f"a rehearsal trains where it is started, and this is no node of {partition.name}; start it there: "
                f"{shlex.join(_srun(partition))}; or rehearse on this machine with --partition local"
            )
        here = {"executor": "local", "num_nodes": 1, "cpus_per_task": None, "gres": None}
        partition = Partition.model_validate(partition.model_dump() | here)
    num_copies = int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1)
    if num_copies > 1:
        raise UserError(f"srun has started {num_copies} rehearsals at once; give it --ntasks=1, each starts its tasks")
    return partition.model_copy(update={"setup": (*partition.setup, *_visible_gpus(partition))})


def require_space(config: RunConfig, root: Path) -> None:
    """Refuse a rehearsal that could fill the disk.

    Raises:
        UserError: less is free than its checkpoints take.
    """
    needed, free = NUM_CHECKPOINTS * checkpoint_bytes(config), shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"a rehearsal of {config.name} needs {needed / 1e9:.3g} GB for its checkpoints, and {free / 1e9:.3g} GB "
            f"are free under {root}; free some space or choose another --root"
        )


def _visible_gpus(partition: Partition) -> tuple[str, ...]:
    """The set-up line that leaves the tasks on this process's GPUs: submitit numbers them from 0 on."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not partition.gpus_per_node or given is None:
        return ()
    devices = [device for device in given.split(",") if device]
    if len(devices) < partition.gpus_per_node:
        raise UserError(
            f"partition {partition.name} has {partition.gpus_per_node} GPUs, and this process may use {len(devices)}; "
            f"ask for all of them: {shlex.join(_srun(partition))}"
        )
    return (f"export CUDA_VISIBLE_DEVICES={shlex.quote(','.join(devices[: partition.gpus_per_node]))}",)


def _srun(partition: Partition) -> list[str]:
    """The command that starts this one on one node of a Slurm partition, with what a job of the run has there."""
    options = {
        "partition": partition.slurm_partition or partition.name,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": (partition.cpus_per_task or 1) * partition.num_tasks_per_node,
        "gres": partition.gres,
        "gpus-per-node": None if partition.gres else partition.gpus_per_node or None,
        "mem": None if partition.mem_gb is None else f"{round(partition.mem_gb * 1024)}M",
        "account": partition.account,
        "qos": partition.qos,
        "constraint": partition.constraint,
        "time": min(partition.timeout_min, MINUTES_ASKED),
    }
    stated = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return ["srun", *stated, "--pty", "python", "-m", "vdt_hpc.launch", *sys.argv[1:]]
