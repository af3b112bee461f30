"""Signals that ask for an end: none is lost, whenever it comes."""

import os
import signal
import subprocess
import sys

import pytest

from tests.jobs import made_up
from vdt_hpc.cluster.job import Outcome
from vdt_hpc.cluster.local_tasks import deaf_to_interrupts, stop_requests
from vdt_hpc.commands import running
from vdt_hpc.experiment.paths import paths_for

INTERRUPTED = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('went on')"


def test_an_interrupt_while_children_are_started_reaches_their_parent_alone():
    with stop_requests() as stops:
        with deaf_to_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            child = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
        assert stops == [signal.SIGINT]
    assert (child.returncode, child.stdout) == (0, "went on\n")


@pytest.mark.parametrize(
    ("stages", "status", "said"),
    [
        (["encode", "train"], 3, "stopped before stage train; run the same command again to go on\n"),
        (["encode"], 0, ""),
    ],
)
def test_a_stop_that_comes_too_late_for_its_stage_keeps_the_next_from_starting(
    monkeypatch, tmp_path, capsys, stages, status, said
):
    def complete(job, partition, jobs_folder, stops):
        os.kill(os.getpid(), signal.SIGTERM)
        return Outcome("complete", "encoded", {})

    monkeypatch.setattr(running, "run_local", complete)
    config, partition = made_up.config(), made_up.partition(tmp_path)
    assert running.run(stages, config, partition, paths_for(config, partition)) == status
    shown = capsys.readouterr()
    assert shown.err == said
    assert "train" not in shown.out
