"""Worker processes that get a signal: of the stage `streets`, and of bare pools at moments that are hard to hit."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import connection
from pathlib import Path

import pytest

from preprocess import streets
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.pool import worker_processes

HOME = Path(__file__).parents[2]
SETTINGS = {"num_train_clips": 6, "num_val_clips": 1, "num_test_clips": 1, "frame_width_px": 64, "frame_height_px": 32}


@pytest.fixture
def at_work(bench):
    """The stage as a process, and a worker of its pool that has made something."""
    run = bench(streets=SETTINGS)
    process = run.start("streets", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    frames, deadline = paths_for(run.config, run.partition).frames, time.monotonic() + 60
    while not any(frames.rglob("*.png")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    yield run, process, workers
    process.kill()
    process.communicate()


def wait_for_end_of(pids):
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_a_stop_that_reaches_a_worker_alone_is_left_to_the_task(at_work, number):
    run, process, workers = at_work
    os.kill(workers[0], number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, output + errors
    assert "Traceback" not in errors
    wait_for_end_of(workers)
    assert "nothing to do" in streets.run(run.config, run.partition).summary


def test_a_stop_of_all_processes_is_a_clean_end_and_the_next_start_goes_on(at_work):
    run, process, workers = at_work
    for pid in [*workers, process.pid]:
        os.kill(pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, output + errors
    assert "Traceback" not in errors
    wait_for_end_of(workers)
    assert streets.run(run.config, run.partition).complete


def test_a_killed_worker_is_one_line_and_the_next_start_goes_on(at_work):
    run, process, workers = at_work
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert errors.splitlines()[-1] == (
        "vdt_hpc.errors.UserError: a worker process was killed, perhaps for want of memory; "
        "run the same command again to go on"
    )
    wait_for_end_of(workers)
    assert streets.run(run.config, run.partition).complete


def die_while_handing_over():
    """Half of the result gets into the pipe."""

    def send_half(self, content, write=None):
        os.write(self.fileno(), bytes(content)[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    connection.Connection._send = send_half
    return b"x" * 1000


@pytest.mark.timeout(60)
def test_a_worker_that_dies_while_it_hands_over_a_result_is_one_line():
    with pytest.raises(UserError, match="a worker process was killed"), worker_processes(2) as pool:
        results = [pool.submit(time.sleep, 0), pool.submit(die_while_handing_over), pool.submit(time.sleep, 600)]
        for result in results:
            result.result()


STOPPED_AT_THE_START = """
import os, signal, sys
from vdt_hpc.pool import worker_processes

if __name__ == "__main__":
    heard, number = [], getattr(signal, sys.argv[1])
    signal.signal(number, lambda *_: heard.append(sys.argv[1]))
    with worker_processes(2) as pool:
        results = [pool.submit(abs, -1), pool.submit(abs, -2)]  # started, and far from their first line of Python
        os.killpg(0, number)
        print([result.result() for result in results], heard, signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2", "SIGINT"])
def test_a_stop_of_all_processes_while_workers_start_reaches_the_task_alone(name, tmp_path):
    (tmp_path / "stopped.py").write_text(STOPPED_AT_THE_START)
    words = [sys.executable, tmp_path / "stopped.py", name]
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, start_new_session=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"[1, 2] ['{name}'] set()\n", "")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("others_are_at_work", [True, False])
def test_a_killed_worker_takes_the_others_with_it(others_are_at_work):
    with pytest.raises(UserError, match="a worker process was killed"), worker_processes(3) as pool:
        for result in [pool.submit(time.sleep, 0.2) for _ in range(6)]:
            result.result()
        workers = list(pool._processes)
        results = [pool.submit(time.sleep, 600) for _ in range(3 if others_are_at_work else 0)]
        os.kill(workers[0], signal.SIGKILL)
        for result in results:
            result.result()
        while True:
            pool.submit(time.sleep, 0.01).result()
    wait_for_end_of(workers)
