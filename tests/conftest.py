"""What tests of several rooms share."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.made_runs import StandIn

HOME = Path(__file__).parents[1]


def _as_from_a_terminal():
    """A shell in the background has Ctrl-C ignored, nohup a closed terminal, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class CommandLine:
    """Runs `python -m vdt_hpc.MODULE` from the checkout, as a user would, writing under one root."""

    def __init__(self, root):
        self.root = root
        self._started = []

    def arguments(self, module, *words):
        return [sys.executable, "-m", f"vdt_hpc.{module}", *map(str, words), "--root", str(self.root)]

    def start(self, module, *words):
        """Start in a process group of its own, which is killed when the test is over, however it ended."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
        options["preexec_fn"] = _as_from_a_terminal
        process = subprocess.Popen(self.arguments(module, *words), cwd=HOME, text=True, **options)
        self._started.append(process)
        return process

    def kill_all(self):
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def run(self, module, *words, env=None):
        done = subprocess.run(
            self.arguments(module, *words), cwd=HOME, capture_output=True, text=True, env={**os.environ, **(env or {})}
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    def launch(self, *words, partition="local", run="smoke", env=None):
        return self.run("launch", *words, "--partition", partition, "--run", run, env=env)

    def refused(self, *words, **options):
        """The one line of a launch that a user's mistake ends."""
        done = self.launch(*words, **options)
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr


@pytest.fixture
def command_line(tmp_path):
    line = CommandLine(tmp_path / "runs")
    yield line
    line.kill_all()


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Slurm's commands for this process are the stand-ins alone."""
    commands = StandIn(tmp_path)
    monkeypatch.setenv("PATH", commands.path)
    return commands


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """The whole pipeline, run once through the command line on the smoke configuration."""
    line = CommandLine(tmp_path_factory.mktemp("pipeline") / "runs")
    stages = ["streets", "encode", "train", "sample", "evaluate", "report"]
    line.done = line.launch(*stages)
    assert line.done.returncode == 0, line.done.stdout + line.done.stderr
    line.run_folder = line.root / "smoke"
    return line


@pytest.fixture
def encoded(command_line, pipeline):
    """A fresh root that has the smoke run's frames and latents, and no run yet."""
    for noun in ("frames", "latents"):
        shutil.copytree(pipeline.root / noun, command_line.root / noun)
    return command_line


@pytest.fixture(scope="session")
def two_tasks(tmp_path_factory):
    """A partition file: this machine, two tasks."""
    path = tmp_path_factory.mktemp("partition") / "two.yaml"
    path.write_text("name: two\nexecutor: local\ntasks_per_node: 2\nmax_clips_per_gpu: 2\n")
    return path
