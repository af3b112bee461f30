"""TERM and USR2 to one rank or to all of them, at every moment: a clean end, and the next start goes on."""

import ctypes
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.jobs import aftermath, made_up
from tests.jobs.ranks import Ranks, train
from vdt_hpc.lease.lease import Lease, read_holder
from vdt_hpc.lease.owner import Owner

HOME = Path(__file__).parents[2]
RUN = made_up.config()
PHASES = {"reading": None, "training": 12, "writing": 24, "validating": 30, "ending": 60}
"""Phase -> clips at which a run ends that is stopped in it, when it begins where the phase before it ended."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The run of two ranks that nobody stopped."""
    root = tmp_path_factory.mktemp("reference")
    paths = made_up.write_latents(RUN, made_up.partition(root))
    train(root, {}, 2)
    return paths


def stop_in(root, phase, ranks, number, world_size=2):
    """Start a job, send some of its ranks a signal in a phase, and return the job when it has ended."""
    job = Ranks(root, {}, world_size, before=f"tests.jobs.hooks:{phase}")
    arriving = [0] if phase == "reading" else range(world_size)  # the first rank of a node reads for all
    job.wait_for(lambda: all((job.folder / f"{rank}.{phase}").exists() for rank in arriving))
    job.kill(number, ranks)
    (job.folder / "go").touch()
    job.join(60)
    return job


def assert_stopped(job, number, ranks):
    """All ranks ended well, incomplete, at the same position, which is returned; None: before training."""
    outcomes = job.outcomes()
    assert [outcome.get("complete") for outcome in outcomes] == [False] * len(outcomes), (outcomes, job.said())
    assert [process.exitcode for process in job.processes] == [0] * len(outcomes)
    for rank, outcome in enumerate(outcomes):
        assert (signal.Signals(number).name in outcome["summary"]) == (rank in ranks)
    found = {re.sub(r".* at (\S+) of 60 clips, saved", r"\1", outcome["summary"]) for outcome in outcomes}
    return int(found.pop()) if len(found) == 1 and next(iter(found)).isdigit() else None


@pytest.mark.parametrize(
    ("ranks", "signals"),
    [
        ([0], [signal.SIGTERM, signal.SIGUSR2]),
        ([1], [signal.SIGUSR2, signal.SIGTERM]),
        ([0, 1], [signal.SIGTERM, signal.SIGUSR2]),
    ],
)
def test_a_run_stopped_in_every_phase_ends_as_the_one_that_was_not(tmp_path, reference, ranks, signals):
    paths = made_up.write_latents(RUN, made_up.partition(tmp_path))
    for (phase, clips), number in zip(PHASES.items(), itertools.cycle(signals), strict=False):
        job = stop_in(tmp_path, phase, ranks, number)
        assert assert_stopped(job, number, ranks) == clips, (phase, job.outcomes())
        aftermath.assert_tidy(paths)
        found = aftermath.newest(paths)
        assert (found.clips_seen if found else None) == clips, phase
        if phase in ("validating", "ending"):  # made up at the next start
            assert clips not in aftermath.positions(paths, "validation")
    train(tmp_path, {}, 2)
    aftermath.assert_same_run(paths, reference)
    aftermath.assert_tidy(paths)
    assert aftermath.positions(paths, "start") == [0, 12, 24, 30, 60]


@pytest.mark.parametrize(("ranks", "number"), [([0], signal.SIGUSR2), ([1], signal.SIGTERM), ([0, 1], signal.SIGTERM)])
def test_a_signal_while_another_job_trains_ends_the_waiting(tmp_path, ranks, number):
    paths = made_up.write_latents(RUN, made_up.partition(tmp_path))
    other = Lease(paths.lease, Owner.this_process("there"), 60)
    assert other.try_acquire()
    try:
        job = Ranks(tmp_path, {}, 2)
        job.wait_for(lambda: "waiting until it ends" in job.said())
        job.kill(number, ranks)
        job.join(30)
        assert assert_stopped(job, number, ranks) is None
        assert read_holder(paths.lease).token == Owner.from_json(other.holder.to_json()).token
        assert not paths.run_config.exists()
    finally:
        other.release()


@pytest.mark.parametrize("directed", ["to the thread's number", "to the thread alone"])
def test_a_signal_to_the_thread_that_prepares_examples_stops_the_whole_run(tmp_path, directed):
    paths = made_up.write_latents(RUN, made_up.partition(tmp_path))
    job = Ranks(tmp_path, {}, before="tests.jobs.hooks:training")
    job.wait_for(lambda: (job.folder / "0.training").exists() and (job.folder / "0.training").read_text())
    (process,) = job.processes
    for thread in map(int, (job.folder / "0.training").read_text().split()):
        assert Path(f"/proc/{process.pid}/task/{thread}").exists()
        if directed == "to the thread alone":
            assert ctypes.CDLL(None).tgkill(process.pid, thread, int(signal.SIGTERM)) == 0
        else:
            os.kill(thread, signal.SIGTERM)
    (job.folder / "go").touch()
    assert assert_stopped(job, signal.SIGTERM, [0]) == 12
    assert aftermath.newest(paths).clips_seen == 12


@pytest.fixture
def launched(tmp_path):
    """Starts the launcher on a made-up run of two tasks; nothing of it may be left at the end."""
    run = made_up.config(train__total_clips=6_000, train__checkpoint_every_clips=6_000)
    where = made_up.partition(tmp_path / "runs")
    paths = made_up.write_latents(run, where)
    (tmp_path / "run.yaml").write_text(run.model_dump_json())
    (tmp_path / "two.yaml").write_text("name: two\nexecutor: local\ntasks_per_node: 2\nmax_clips_per_gpu: 4\n")
    started = []

    def start():
        words = ["train", "--run", tmp_path / "run.yaml", "--partition", tmp_path / "two.yaml", "--root", where.root]
        command = [sys.executable, "-m", "vdt_hpc.launch", *map(str, words)]
        environment = {**os.environ, "SLURM_CPUS_PER_TASK": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=HOME, env=environment, start_new_session=True, **pipes)
        started.append(process)
        return process

    yield paths, start
    left = aftermath.processes_that_mention(tmp_path)
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert not left


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def seen(paths):
    return max(aftermath.positions(paths, "train"), default=0)


def wait_for(condition, process, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_launcher_and_a_single_task_pass_a_stop_on(launched):
    paths, start = launched
    stopped_at = 0
    for aim in ("launcher", "task"):
        process = start()
        wait_for(lambda at=stopped_at: seen(paths) > at, process)
        if aim == "launcher":
            process.send_signal(signal.SIGTERM)
        else:
            (controller,) = children(process.pid)
            os.kill(children(controller)[1], signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 3, output + errors
        assert "Traceback" not in output + errors
        assert errors.splitlines()[-1].endswith("run the same command again to go on")
        outcomes = [json.loads(path.read_text()) for path in max(paths.jobs.iterdir()).glob("*_outcome.json")]
        assert [outcome["status"] for outcome in outcomes] == ["stopped", "stopped"]
        found = aftermath.newest(paths)
        assert found.clips_seen == seen(paths) > stopped_at
        stopped_at = found.clips_seen
        aftermath.assert_tidy(paths)
        assert not aftermath.processes_that_mention(paths.root)
