"""Where to compute: the typed partition, and the batch plan that follows from a run and a partition."""

from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import BatchConfig
from vdt_hpc.experiment.section import FolderName, NonNegativeInt, PositiveFloat, PositiveInt, Section


class Partition(Section):
    """One place to run: a Slurm partition as this site has it, or this machine."""

    name: FolderName
    """Name of the profile, as in `--partition NAME`."""
    executor: Literal["slurm", "local"] = "slurm"
    """`slurm`: submit with sbatch. `local`: real processes on this machine, no queue."""
    slurm_partition: str | None = None
    """Slurm's name of the partition; null: the same as `name`."""
    account: str | None = None
    """Slurm account that pays; null: the user's default."""
    qos: str | None = None
    """Slurm quality of service; null: the default."""
    constraint: str | None = None
    """Slurm node features that are required; null: none."""
    gres: str | None = None
    """Typed generic resource such as `gpu:a100:5`; null: an untyped --gpus-per-node is asked for."""
    num_nodes: PositiveInt = 1
    """Nodes of one job."""
    gpus_per_node: NonNegativeInt = 0
    """GPUs on each node; one task runs per GPU."""
    tasks_per_node: PositiveInt | None = None
    """Tasks on each node; null: one per GPU, or one where there is no GPU."""
    cpus_per_task: PositiveInt | None = None
    """CPU cores of each task on Slurm; on this machine the cores are shared evenly among the tasks."""
    mem_gb: PositiveFloat | None = None
    """Memory of each node in GB; null: Slurm's default."""
    timeout_min: PositiveInt = 600
    """Time limit of one job, in minutes."""
    save_margin_s: PositiveInt = 120
    """Seconds before the time limit at which training saves and hands the job back."""
    max_idle_restarts: PositiveInt = 3
    """Restarts in a row of a job that has finished nothing new in between; after that it ends with an error."""
    wckey: bool = True
    """Send submitit's workload key; some sites refuse it."""
    setup: tuple[str, ...] = ()
    """Shell lines run before Python on the node, such as `module load cuda`."""
    gpu_memory_gb: PositiveFloat | None = None
    """Memory of one GPU in GB."""
    peak_bf16_tflops: PositiveFloat | None = None
    """Dense bf16 peak of one GPU in TFLOP/s, for the model's share of it; null: not stated."""
    max_clips_per_gpu: PositiveInt = 8
    """Clips that one task's micro-batch may hold."""
    activation_checkpointing: bool = False
    """Keep only the input of each block and compute the rest again in the backward pass: about a third slower, a
    fraction of the memory, the same numbers."""
    compile: bool = False
    """Compile the model's block with torch.compile, once for all layers; what was compiled is kept under the root."""
    latents_memory_gb: PositiveFloat | None = None
    """Memory of one node in GB that the training latents may take; what does not fit is read clip by clip. Null: half
    of what is free."""
    lease_timeout_s: PositiveFloat = 120.0
    """Seconds without a sign of life after which another job may take over a run; longer than the shared file system
    keeps old attributes (NFS: 60 s)."""
    root: str = "runs"
    """Folder for everything the program writes; shared by all nodes. Relative: under the current directory."""

    @model_validator(mode="after")
    def _possible(self) -> "Partition":
        if self.gpus_per_node and self.tasks_per_node not in (None, self.gpus_per_node):
            raise ValueError(f"tasks_per_node {self.tasks_per_node} must equal gpus_per_node {self.gpus_per_node}")
        if self.executor == "slurm" and self.cpus_per_task is None:
            raise ValueError("cpus_per_task is needed on a Slurm partition")
        if self.executor == "local" and (self.num_nodes != 1 or self.cpus_per_task is not None):
            raise ValueError("this machine is one node and shares its cores evenly: leave num_nodes and cpus_per_task")
        if self.save_margin_s >= self.timeout_min * 60:
            raise ValueError("save_margin_s is longer than timeout_min")
        return self

    @property
    def num_tasks_per_node(self) -> int:
        """Tasks on each node, after the defaults."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def world_size(self) -> int:
        """Tasks of one job."""
        return self.num_nodes * self.num_tasks_per_node


@dataclass(frozen=True)
class BatchPlan:
    """How one update's clips are spread over ranks and micro-batches.

    Ranks take contiguous shares of the global batch in rank order; micro-batches split a share evenly.
    """

    global_clips: int
    """Clips in one update."""
    micro_batches: tuple[tuple[int, ...], ...]
    """Clips of each micro-batch, for each rank."""
    lr_scale: float
    """Factor on the learning rate (1 with a fixed batch)."""

    @property
    def accumulation(self) -> int:
        """Largest number of micro-batches that a rank takes per update."""
        return max(len(sizes) for sizes in self.micro_batches)

    def share(self, rank: int) -> range:
        """Offsets, within the global batch, of the clips that a rank takes."""
        shares = [sum(sizes) for sizes in self.micro_batches]
        start = sum(shares[:rank])
        return range(start, start + shares[rank])


def plan_batch(batch: BatchConfig, partition: Partition) -> BatchPlan:
    """Spread a run's batch over a partition's tasks.

    Raises:
        UserError: the fixed global batch has fewer clips than the partition has tasks.
    """
    world_size, limit = partition.world_size, partition.max_clips_per_gpu
    global_clips = batch.global_clips if batch.scale == "fixed" else world_size * limit
    if global_clips < world_size:
        raise UserError(
            f"batch.global_clips {global_clips} is less than the {world_size} tasks of partition {partition.name}; "
            "use fewer GPUs or a larger batch"
        )
    shares = even_parts(global_clips, world_size)
    micro_batches = tuple(even_parts(share, -(-share // limit)) for share in shares)
    return BatchPlan(global_clips, micro_batches, global_clips / batch.global_clips)


def even_parts(total: int, num_parts: int) -> tuple[int, ...]:
    """Split a whole number into parts that differ by at most 1, larger ones first."""
    quotient, remainder = divmod(total, num_parts)
    return tuple(quotient + (part < remainder) for part in range(num_parts))
