"""Who this process is among the tasks of its job, the process group, and what it may compute on.

Importing this module does not import torch; the functions that need a process group do.
"""

import datetime
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.stages import ARRAY
from vdt_hpc.processes import state_and_start

if TYPE_CHECKING:
    import torch

RENDEZVOUS_TIMEOUT = datetime.timedelta(minutes=10)


@dataclass(frozen=True)
class Task:
    """One process of a job."""

    rank: int = 0
    """Number among all tasks of the job."""
    world_size: int = 1
    """Tasks of the job."""
    local_rank: int = 0
    """Number among the tasks of this node."""
    job_id: str = "direct"
    """Number of the job, and of its restart; `direct` outside any launcher."""
    array_index: int = 0
    """Number of the job among those of its job array."""
    array_size: int = 1
    """Jobs of that array; each has `world_size` tasks."""

    def share(self, num_items: int) -> range:
        """Numbers of the work items (shards, parts, clips) that belong to this task of the job, or of its array."""
        return range(self.array_index * self.world_size + self.rank, num_items, self.array_size * self.world_size)


def current_task() -> Task:
    """The task that this process is, read from the launcher's environment; a lone task outside any launcher."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return Task()
    import submitit

    environment = submitit.JobEnvironment()
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    array_index, array_size = map(int, os.environ.get(ARRAY, "0/1").split("/"))
    return Task(
        rank=environment.global_rank,
        world_size=environment.num_tasks,
        local_rank=environment.local_rank,
        job_id=f"{environment.job_id}-{restarts}",
        array_index=array_index,
        array_size=array_size,
    )


class Work(Protocol):
    """A collective that runs in the background."""

    def wait(self) -> object:
        """Return when it is done."""


class _Done:
    def wait(self) -> None:
        """Nothing to wait for."""


class ProcessGroup:
    """The tasks of a job joined for collectives; with one task, every call is free.

    Args:
        task: this process.
        folder: a folder that all tasks share; rank 0 announces its address there.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        import torch

        self.task = task
        self.device = device_of(task)
        torch.set_num_threads(cpus_of_task(task))
        if task.world_size > 1:
            self._join(folder)

    def _join(self, folder: Path) -> None:
        from torch import distributed

        _require_writable(folder)
        # A copy from another cluster may hold the address of a job with the same number there.
        cluster = os.environ.get("SLURM_CLUSTER_NAME", "")
        address = folder / f"rendezvous-{cluster}-{self.task.job_id}.json"
        if self.task.rank == 0:
            # Port 0: the system chooses a free one, so that jobs on one node cannot collide.
            local = os.environ["SUBMITIT_EXECUTOR"] == "local"
            host = "127.0.0.1" if local else socket.gethostname()
            store = distributed.TCPStore(
                "127.0.0.1" if local else "0.0.0.0",
                0,
                self.task.world_size,
                is_master=True,
                timeout=RENDEZVOUS_TIMEOUT,
                wait_for_workers=False,
            )
            files.write_json(address, {"host": host, "port": store.port})
        else:
            host, port = _wait_for_address(address)
            store = distributed.TCPStore(host, port, self.task.world_size, False, RENDEZVOUS_TIMEOUT)
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        distributed.init_process_group(
            backend,
            store=store,
            rank=self.task.rank,
            world_size=self.task.world_size,
            timeout=RENDEZVOUS_TIMEOUT,
        )
        distributed.barrier()
        if self.task.rank == 0:
            address.unlink()

    def sum(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """Sum of a tensor over all ranks, in place; every rank must call it."""
        if self.task.world_size > 1:
            from torch import distributed

            distributed.all_reduce(tensor)
        return tensor

    def start_sum(self, tensor: "torch.Tensor") -> "Work":
        """As `sum`, in the background; the tensor is the sum once `wait` has returned."""
        if self.task.world_size == 1:
            return _Done()
        from torch import distributed

        work: Work = distributed.all_reduce(tensor, async_op=True)
        return work

    def min(self, number: int) -> int:
        """Smallest of all ranks' numbers; every rank must call it."""
        import torch

        tensor = torch.tensor(number, device=self.device)
        if self.task.world_size > 1:
            from torch import distributed

            distributed.all_reduce(tensor, distributed.ReduceOp.MIN)
        return int(tensor.item())

    def any(self, flag: bool) -> bool:
        """True on every rank if it is on one; every rank must call it."""
        import torch

        return bool(self.sum(torch.tensor(int(flag), device=self.device)).item())

    def broadcast_text(self, text: str | None) -> str:
        """Rank 0's text on every rank."""
        box = [text]
        if self.task.world_size > 1:
            from torch import distributed

            distributed.broadcast_object_list(box, device=self.device)
        assert box[0] is not None
        return box[0]

    def gather_texts(self, text: str) -> list[str]:
        """The text of every rank, in rank order, on every rank; every rank must call it."""
        texts: list[str] = [text]
        if self.task.world_size > 1:
            from torch import distributed

            texts = [""] * self.task.world_size
            distributed.all_gather_object(texts, text)
        return texts

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.task.world_size > 1:
            from torch import distributed

            distributed.barrier()

    def close(self) -> None:
        """Leave the group."""
        if self.task.world_size > 1:
            from torch import distributed

            distributed.destroy_process_group()


def cpus_of_task(task: Task) -> int:
    """CPU cores for this task: Slurm's count, else an even share of what this process may use."""
    stated = os.environ.get("SLURM_CPUS_PER_TASK")
    if stated:
        return int(stated)
    return max(1, len(os.sched_getaffinity(0)) // task.world_size)


def seconds_left(timeout_min: float) -> float:
    """Seconds until the job's time limit: Slurm's end time where it is told, else counted from this process's start."""
    end = os.environ.get("SLURM_JOB_END_TIME")
    if end:
        return float(end) - time.time()
    found = state_and_start(os.getpid())
    assert found is not None
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - found[1] / os.sysconf("SC_CLK_TCK")
    return timeout_min * 60 - age_s


def device_of(task: Task) -> "torch.device":
    """The device of a task: its GPU where there are GPUs (made the current one), else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    # One visible GPU per task: it is number 0 here, whatever the local rank.
    index = 0 if torch.cuda.device_count() == 1 else task.local_rank
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def device_name(device: "torch.device") -> str:
    """What computes, as people name it: the GPU's model, or how many threads of the CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def _require_writable(folder: Path) -> None:
    """Raise on every rank alike where rank 0 could not announce itself, so that none waits for it."""
    probe = folder / f".{socket.gethostname()}-{os.getpid()}.tmp"
    with files.explained(folder):
        probe.write_text("a byte or two\n", encoding="utf-8")
        probe.unlink()


def _wait_for_address(path: Path) -> tuple[str, int]:
    deadline = time.monotonic() + RENDEZVOUS_TIMEOUT.total_seconds()
    while time.monotonic() < deadline:
        if path.exists():
            address = files.read_json(path)
            return str(address["host"]), int(address["port"])
        time.sleep(0.1)
    raise UserError(f"rank 0 did not announce itself at {path} within 10 minutes; is the folder shared by all nodes?")
