"""From a partition to a submitit executor: the one place that knows the names of submission parameters."""

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import submitit

from vdt_hpc import slurm
from vdt_hpc.cluster import queue
from vdt_hpc.cluster.job import StageJob
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import checkout, weights_dir

MAX_REQUEUES = 10_000  # submitit's own cap counts time limits, which are this program's normal life


class _SlurmExecutor(submitit.SlurmExecutor):
    """SlurmExecutor that can be made, and can print its submission, where Slurm is not installed."""

    @classmethod
    def affinity(cls) -> int:
        return 2


def slurm_parameters(
    partition: Partition, folder: Path, job_name: str, code: Path, dependency: str = ""
) -> dict[str, Any]:
    """Parameters of one Slurm job: one task per GPU under srun, requeued at will, all tasks ending with the first.

    Args:
        partition: where.
        folder: of the job's logs and pickles.
        job_name: as squeue shows it.
        code: the copy of the code that it executes.
        dependency: what it waits for, see `dependency.py`.
    """
    # Else a job pends for ever when its parent is cancelled; one that waits for nothing yet may get a parent later.
    additional: dict[str, Any] = {"requeue": True, "kill-on-invalid-dep": "yes"}
    if dependency:
        additional["dependency"] = dependency
    exports = {"PYTHONPATH": f"{shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}"}
    exports["VDT_HPC_WEIGHTS"] = shlex.quote(str(weights_dir().absolute()))
    own_setup = [f"export {name}={value}" for name, value in exports.items()]
    # Python looks for modules in the current directory first, and there may be a checkout.
    own_setup.append(f"cd {shlex.quote(str(code))}")
    own_setup.append("trap : TERM USR2")  # the script outlives the signals that end its tasks, to judge how they ended
    own_setup.append(shlex.join([sys.executable, "-m", "vdt_hpc.cluster.before", str(folder)]) + " || exit")
    parameters = {
        "job_name": job_name,
        "partition": partition.slurm_partition or partition.name,
        "time": partition.timeout_min,
        "nodes": partition.num_nodes,
        "ntasks_per_node": partition.num_tasks_per_node,
        "cpus_per_task": partition.cpus_per_task,
        "gpus_per_node": None if partition.gres else partition.gpus_per_node or None,
        "gres": partition.gres,
        "mem": None if partition.mem_gb is None else f"{round(partition.mem_gb * 1024)}M",
        "account": partition.account,
        "qos": partition.qos,
        "constraint": partition.constraint,
        "signal_delay_s": partition.save_margin_s,
        "setup": [*partition.setup, *own_setup],
        "teardown": [shlex.join([sys.executable, "-m", "vdt_hpc.cluster.after", str(folder)]) + " $?"],
        # srun of Slurm 22.05 and later does not inherit --cpus-per-task from sbatch.
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={partition.cpus_per_task}"],
        "additional_parameters": additional,
    }
    stated = {key: value for key, value in parameters.items() if value is not None}
    return stated if partition.wckey else stated | {"wckey": None}


def slurm_executor(
    partition: Partition, folder: Path, job_name: str, code: Path, dependency: str = ""
) -> submitit.SlurmExecutor:
    """An executor whose jobs write their logs and pickles to `folder`, which all nodes share."""
    executor = _SlurmExecutor(folder, max_num_timeout=MAX_REQUEUES)
    executor.update_parameters(**slurm_parameters(partition, folder, job_name, code, dependency))
    return executor


def submission_text(executor: submitit.SlurmExecutor, array_size: int = 1) -> str:
    """The exact text that sbatch is given."""
    if array_size > 1:
        executor.parameters["map_count"] = array_size  # as submitit does for an array's executor
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def submit_to_slurm(executor: submitit.SlurmExecutor, jobs: Sequence[StageJob]) -> str:
    """Submit a job, or several as the tasks of a job array; returns its id.

    Raises:
        UserError: there is no sbatch here, or it refuses the job (its own words follow).
    """
    if absence := queue.absence():
        raise UserError(absence)
    try:
        with _clean_environment():
            if len(jobs) == 1:
                return str(executor.submit(jobs[0]).job_id)
            with executor.batch():
                tasks = [executor.submit(job) for job in jobs]
            return str(tasks[0].job_id).partition("_")[0]
    except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
        raise UserError(f"sbatch refused the job: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise UserError(f"cannot write {executor.folder}: {error.strerror}; choose another --root") from None


@contextlib.contextmanager
def _clean_environment() -> Iterator[None]:
    """Submit as from a login node, also from inside a job: its rank, address and GPUs are not the new job's."""
    before = dict(os.environ)
    clean = slurm.environment(before)
    for name in before.keys() - clean.keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


def local_executor(partition: Partition, folder: Path) -> submitit.LocalExecutor:
    """An executor that starts the partition's tasks as processes of this machine."""
    try:
        executor = submitit.LocalExecutor(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another --root") from None
    executor.update_parameters(
        timeout_min=partition.timeout_min,
        tasks_per_node=partition.num_tasks_per_node,
        gpus_per_node=partition.gpus_per_node,
        signal_delay_s=partition.save_margin_s,
    )
    if partition.setup:
        executor.update_parameters(setup=list(partition.setup))
    home = str(checkout())
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if home not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [home, *known]))
    return executor
