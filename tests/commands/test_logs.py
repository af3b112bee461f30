"""`status RUN --logs`: which file is followed, what of it is shown, and when it ends."""

import json
import os
import time

import pytest

from tests.commands.made_runs import CLUSTER, MadeRun
from vdt_hpc import status
from vdt_hpc.commands.state import logs

TRACEBACK = "a warning\nTraceback (most recent call last):\n  File x\nValueError: no\n"


@pytest.fixture
def follow(tmp_path, capfd, monkeypatch, stand_in):
    """Lines that following the run `run` prints until it ends by itself."""
    monkeypatch.setattr(logs, "ASK_S", 0.05)
    monkeypatch.setattr(logs, "POLL_S", 0.01)

    def run(*stage, code=0):
        assert status.main(["run", "--root", str(tmp_path / "runs"), "--logs", *stage]) == code
        out, err = capfd.readouterr()
        return (out + err).splitlines()

    return run


@pytest.fixture
def run(tmp_path):
    return MadeRun(tmp_path / "runs", "run").started()


def answers(*rows):
    """A body for squeue whose answer changes from call to call, and stays empty after the last."""
    cases = "\n".join(f"  {number}) echo '{row}';;" for number, row in enumerate(rows) if row)
    count = 'n=$(($(/bin/cat "$0.count" 2>/dev/null) + 0)); echo $((n + 1)) > "$0.count"'
    return f"{count}\ncase $n in\n{cases}\nesac"


def row(job, state="RUNNING", reason="None"):
    return f"{job}|run-train|a100|{state}|{reason}|N/A|1:00|gpu-a100"


def test_of_a_job_that_is_over_the_end_and_the_traceback(run, follow):
    run.submitted("1").log("1", "".join(f"line {number}\n" for number in range(200)), TRACEBACK)
    run.outcome("1", "crashed", "ValueError: no").note("1", "task 0 crashed: ValueError: no")
    shown = follow()
    log = run.paths.jobs_of("train", CLUSTER) / "1_0_log.out"
    assert shown[0] == (
        f"==> {log} <== train, job 1 on a100: failed: task 0 crashed: ValueError: no; nothing of train runs or waits"
    )
    assert shown[1] == f"line {200 - logs.LAST_LINES}"
    assert shown[-4:] == ["line 199", "Traceback (most recent call last):", "  File x", "ValueError: no"]
    assert "a warning" not in shown


def test_the_log_of_the_job_that_goes_on_comes_next(run, follow, stand_in):
    run.submitted("1").log("1", "first\n", TRACEBACK).note("1", "moved to job 2 on a100").outcome("1", "stopped")
    run.submitted("2").log("2", "second\n").outcome("2", "complete").note("2", "complete")
    stand_in.command("squeue", answers(row("1"), row("1"), row("2"), row("2")))
    shown = follow()
    assert [line for line in shown if not line.startswith("==>")] == ["first", "second"], "an old traceback is none"
    said = [line.split(" <== ")[1] for line in shown if line.startswith("==>")]
    assert said == [
        "train, job 1 on a100: running on gpu-a100",
        "train, job 2 on a100: running on gpu-a100",
        "train, job 2 on a100: complete",
    ]


def test_a_requeued_job_is_waited_for(run, follow, stand_in):
    run.submitted("1").log("1", "first start\n").outcome("1", "complete").note("1", "complete", restart=1)
    stand_in.command("squeue", answers(row("1"), row("1", "PENDING", "BeginTime"), row("1")))
    said = [line.split(": ", 1)[1] for line in follow() if line.startswith("==>")]
    assert said == ["running on gpu-a100", "requeued on gpu-a100 (BeginTime)", "running on gpu-a100", "complete"]


def test_what_a_log_gains_is_shown(run, follow, stand_in):
    run.submitted("1").log("1", "old\n").outcome("1", "complete").note("1", "complete")
    log = run.paths.jobs_of("train", CLUSTER) / "1_0_log.out"
    stand_in.command(
        "squeue", f'echo new >> "{log}"; echo oh >> "{log.with_suffix(".err")}"\n' + answers(*[row("1")] * 3)
    )
    shown = [line for line in follow() if not line.startswith("==>")]
    assert shown.count("old") == 1
    assert shown.count("new") == 4
    assert shown.count("oh") == 3, "of standard error what comes while it is followed"


def test_a_task_of_a_job_array_and_the_stage_that_is_asked_for(run, follow, stand_in):
    run.submitted("1", "encode", array=2).submitted("2")
    run.log("1_0", "share 0\n", stage="encode").outcome("1_0", "complete", stage="encode")
    run.log("1_1", "share 1\n", stage="encode").outcome("1_1", "complete", stage="encode").log("2", "training\n")
    stand_in.command("squeue", answers(row("1_1"), "", row("1_1")))
    shown = follow("encode")
    assert shown[0].endswith("1_1_0_log.out <== encode, job 1_1 on a100: running on gpu-a100")
    assert "share 1" in shown
    assert "share 0" not in shown
    assert follow("train")[-1] == "training"


def test_a_run_on_this_machine(run, follow):
    for second, stage in enumerate(("encode", "train")):
        folder = run.paths.jobs / f"20260101-10000{second}-{stage}"
        folder.mkdir(parents=True)
        log = folder / "4194300_0_log.out"
        log.write_text(f"{stage}\n")
        os.utime(log, (time.time() + second,) * 2)
        (folder / "4194300_0_outcome.json").write_text(json.dumps({"status": "complete", "message": ""}))
    assert follow()[1:] == ["train"]
    assert follow("encode")[1:] == ["encode"]


def test_a_silent_queue_ends_nothing_that_ran(run, follow, stand_in):
    """Where squeue fails for a moment, the lease tells that the job lives."""
    run.submitted("1").log("1", "alive\n").leg("1-0", 60).held("1")
    stand_in.command("squeue", answers(row("1")).replace("esac", "  1|2) exit 1;;\nesac"))
    said = [line.split(": ", 1)[1] for line in follow() if line.startswith("==>")]
    assert said[0] == "running on gpu-a100"
    assert said[1].startswith("running (job 1 on a100 (node gpu-a100) of cluster mission, sign of life ")
    assert said[-1].startswith("killed: it left no word; nothing of train runs or waits")
