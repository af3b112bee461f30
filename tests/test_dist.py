"""Real processes: who they are, how they join, what they agree on."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vdt_hpc.dist import Task, current_task
from vdt_hpc.stopping import StopFlag

HOME = Path(__file__).parents[1]
WORK = """
    import sys, torch
    from pathlib import Path
    from vdt_hpc.dist import ProcessGroup, current_task
    task = current_task()
    group = ProcessGroup(task, Path(sys.argv[1]))
    total = group.sum(torch.tensor([float(task.rank), 1.0], dtype=torch.float64))
    agreed = group.any(task.rank == 1), group.any(False)
    print(task.rank, total.tolist(), *agreed, group.broadcast_text(f"from {task.rank}"))
    group.close()
"""


def start(rank, world_size, folder):
    env = {
        **os.environ,
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_JOB_ID": "77",
        "SUBMITIT_LOCAL_NTASKS": str(world_size),
        "SUBMITIT_LOCAL_GLOBALID": str(rank),
        "SUBMITIT_LOCAL_LOCALID": str(rank),
    }
    command = [sys.executable, "-c", textwrap.dedent(WORK), str(folder)]
    return subprocess.Popen(command, env=env, cwd=HOME, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_join_and_agree(world_size, tmp_path):
    processes = [start(rank, world_size, tmp_path) for rank in range(world_size)]
    printed = [process.communicate(timeout=280)[0].strip() for process in processes]
    ranks = float(sum(range(world_size)))
    assert printed == [
        f"{rank} [{ranks}, {float(world_size)}] {world_size > 1} False from 0" for rank in range(world_size)
    ]
    assert list(tmp_path.iterdir()) == []


def test_outside_a_launcher_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    assert current_task() == Task(rank=0, world_size=1, local_rank=0)


def test_shares_cover_the_work_once():
    shares = [Task(rank=rank, world_size=3).share(8) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(8))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_sets_the_flag_and_does_nothing_else(number):
    previous = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        flag = StopFlag().install()
        assert not flag
        os.kill(os.getpid(), number)
        assert flag
        assert flag.reason == number.name
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
