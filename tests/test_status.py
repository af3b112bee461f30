"""`python -m vdt_hpc.status`, as a user types it; stand-ins for Slurm's commands answer, fail, hang or are missing."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.commands.made_runs import CLUSTER, MadeRun, StandIn, ago, append
from vdt_hpc import slurm, status


@pytest.fixture
def trained(command_line, pipeline):
    """A root that has the trained smoke run."""
    shutil.copytree(pipeline.run_folder, command_line.root / "smoke")
    return command_line


def checkpoints(line):
    return line.root / "smoke" / "checkpoints"


def test_a_run_at_a_glance(trained):
    done = trained.run("status")
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert lines["state"].split() == ["state", "complete"]
    assert "complete" in lines["training"]
    assert "nobody now" in lines["trained"]
    assert "2, newest clips-000000024" in lines["checkpoints"]
    logged = [json.loads(text) for text in (trained.root / "smoke" / "progress.jsonl").read_text().splitlines()]
    loss = [line["loss"] for line in logged if line["kind"] == "train"][-1]
    assert f"loss {loss:.4f}" in lines["last"]


def test_a_named_run_tells_which_jobs_trained_it(trained):
    shown = trained.run("status", "smoke").stdout
    assert "1 job, 0 restarts, 0 clips lost" in shown
    assert "local x 1" in shown
    assert "clips 0 -> 24: complete" in shown
    for stage in ("streets", "encode", "sample", "evaluate", "report"):
        lines = [line for line in shown.splitlines() if line.split()[:1] == [stage]]
        assert lines  # several, where the command was run again
        assert all(line.endswith("complete") for line in lines)


def test_checkpoints_are_listed_and_read(trained):
    done = trained.run("status", "smoke", "--checkpoints")
    assert done.returncode == 0
    newest, older = [line for line in done.stdout.splitlines() if line.startswith("  clips-")]
    assert newest.split()[:2] == ["clips-000000024", "valid"]
    assert older.split()[:2] == ["clips-000000012", "valid"]
    assert "1 task(s) of local" in newest


def test_a_flipped_byte_is_found_and_told_by_the_exit_status(trained):
    path = checkpoints(trained) / "clips-000000024" / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = trained.run("status", "smoke", "--checkpoints")
    assert done.returncode == 1
    assert "clips-000000024  DAMAGED: optimizer.safetensors does not match its SHA-256" in done.stdout
    assert "clips-000000012  valid" in done.stdout
    (checkpoints(trained) / "clips-000000012" / "checkpoint.json").unlink()
    done = trained.run("status", "smoke", "--checkpoints")
    assert "clips-000000012  DAMAGED: it has no checkpoint.json" in done.stdout


def test_a_run_that_is_not_there(trained):
    done = trained.run("status", "nothing")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no run 'nothing'")
    assert done.stderr.count("\n") == 1


def test_a_folder_without_runs(command_line):
    done = command_line.run("status")
    assert done.returncode == 2
    assert "no run under" in done.stderr


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def show(root, capsys, monkeypatch):
    """What a command prints, by its words; it must end well unless another exit status is expected."""

    def run(*words, code=0, columns=100):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert status.main([*words, "--root", str(root)]) == code
        out, err = capsys.readouterr()
        return out if code == 0 else out + err

    return run


def state(shown):
    """The line on a run's state, with what it is continued by."""
    lines = shown.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  state"))
    end = next(number for number, line in enumerate(lines) if line.startswith("  training"))
    return " ".join(" ".join(lines[start:end]).split()).removeprefix("state ")


def soon(seconds=3 * 3600):
    return (datetime.now() + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def test_a_run_that_was_only_submitted(root, stand_in, show):
    MadeRun(root, "new").submitted("123").submitted("124", "sample", partition="a40")
    stand_in.squeue(
        ("123", "a100", "PENDING", "Priority", soon(), ""), ("124", "a40", "PENDING", "Dependency", "N/A", "")
    )
    shown = show("new")
    assert state(shown).startswith("pending (Priority), starts about ")
    assert state(shown).endswith(", in 3 h")
    assert "training     not started yet" in shown
    assert "sample  job 124 on a40" in shown
    assert "pending (Dependency)" in shown


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("123", "a100", "RUNNING", "None", "2026-01-01T10:00:00", "gpu1"), "running on gpu1 since "),
        (("123", "a100", "SUSPENDED", "None", "N/A", "gpu1"), "running on gpu1 (suspended)"),
        (("123", "a100", "COMPLETING", "None", "N/A", "gpu1"), "stopping on gpu1"),
        (("123", "a100", "PENDING", "BeginTime", "N/A", ""), "requeued (BeginTime)"),
        (("123", "a100", "REQUEUE_HOLD", "JobHeldAdmin", "N/A", ""), "requeued (JobHeldAdmin)"),
    ],
)
def test_what_squeue_says_comes_first(root, stand_in, show, row, expected):
    run = MadeRun(root, "run").started().submitted("123").leg("123-0", 900, 60, "the time limit", (0, 500))
    run.log("123").note("123", "the time limit").logged(500)
    stand_in.squeue(row)
    stand_in.sacct(job_123="FAILED")
    assert state(show("run")).startswith(expected)
    assert "sacct" not in stand_in.calls()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("COMPLETED", "complete"),
        ("FAILED", "failed: task 0 crashed: ValueError: no"),
        ("CANCELLED by 0", "cancelled: task 0 crashed: ValueError: no"),
        ("TIMEOUT", "killed: time limit"),
        ("NODE_FAIL", "killed: its node failed"),
        ("OUT_OF_MEMORY", "killed: out of memory"),
    ],
)
def test_sacct_tells_how_a_job_ended_and_the_job_why(root, stand_in, show, word, expected):
    run = MadeRun(root, "run").started().submitted("123").log("123")
    run.outcome("123", "crashed", "ValueError: no").note("123", "task 0 crashed: ValueError: no")
    stand_in.sacct(job_123=word)
    assert state(show("run")) == expected


def fill(run, how):
    """What a job that is over may have left."""
    if how == "complete":
        run.outcome("123", "complete").outcome("123", "complete", rank=1).note("123", "complete")
    elif how == "stopped":
        run.outcome("123", "stopped", "stopped by SIGTERM").note("123", "stopped by SIGTERM at 12 of 24 clips, saved")
    elif how == "error":
        run.outcome("123", "error", "the disk is full").note("123", "the disk is full")
    elif how == "one task killed":
        run.outcome("123", "crashed", "x").note("123", "task 1 killed by signal 9 (srun ended with status 137)")
    elif how == "killed by hand":
        run.log("123").leg("123-0", 900)
    elif how == "killed at its second start":
        run.leg("123-0", 900, 600, "the time limit", (0, 12)).note("123", "stopped by the time limit").leg("123-1", 500)
    elif how == "asked to end":
        run.wished("123", "cancelled by launch --cancel")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("complete", "complete"),
        ("stopped", "stopped: stopped by SIGTERM at 12 of 24 clips, saved"),
        ("error", "failed: the disk is full"),
        ("one task killed", "failed: task 1 killed by signal 9 (srun ended with status 137)"),
        ("killed by hand", "killed: it left no word"),
        ("killed at its second start", "killed: it left no word"),
        ("asked to end", "cancelled: cancelled by launch --cancel"),
        ("left the queue", "cancelled: it left the queue before it ran"),
    ],
)
def test_without_accounting_the_jobs_own_words_count(root, stand_in, show, how, expected):
    fill(MadeRun(root, "run").started().submitted("123"), how)
    shown = show("run")
    assert state(shown) == expected
    assert "note: sacct gives no answer" in shown


def test_a_job_that_another_continues_did_not_fail(root, stand_in, show):
    run = MadeRun(root, "run").started().submitted("123", seconds_ago=900).submitted("124", continues="123")
    run.log("123").outcome("123", "stopped", "stopped by the time limit").note("123", "stopped by the time limit")
    stand_in.squeue(("124", "a100", "PENDING", "Priority", "N/A", ""))
    stand_in.sacct(job_123="CANCELLED by 0")
    shown = show("run")
    assert state(shown) == "pending (Priority)"
    assert "stopped: stopped by the time limit; job 124 goes on" in shown


def test_rivals_win_together_and_tasks_of_an_array_lose_together(root, stand_in, show):
    run = MadeRun(root, "run").submitted("1", "sample", command="a").submitted("2", "sample", command="a")
    run.wished("2", "job 1 on a100 started first").outcome("1", "complete", stage="sample")
    assert state(show("run")) == "sample complete"
    run.submitted("3", "sample", command="a", continues="1").wished("3", "job 1 on a100 started first")
    assert state(show("run")) == "sample complete", "a rival that was sent at a restart changes nothing"
    run.submitted("4", "sample", command="b", array=2, seconds_ago=60)
    run.outcome("4_0", "complete", stage="sample").outcome("4_1", "error", "the disk is full", stage="sample")
    assert state(show("run")) == "sample failed: the disk is full"
    run.submitted("5", "sample", command="b", continues="4_1", seconds_ago=30).outcome("5", "complete", stage="sample")
    assert state(show("run")) == "sample complete"


def test_continued_on_another_cluster_by_the_same_numbers(root, stand_in, show):
    run = MadeRun(root, "run").submitted("1", cluster="elsewhere").submitted("2", cluster="elsewhere", continues="1")
    run.submitted("1", seconds_ago=60).outcome("1", "error", "the disk is full")
    assert state(show("run")) == "failed: the disk is full"


def break_slurm(commands, how, monkeypatch):
    if how == "missing":
        commands.missing("squeue", "sacct", "scontrol")
    elif how == "failing":
        for name in ("squeue", "scontrol"):
            commands.command(name, "echo 'Unable to contact slurm controller' >&2; exit 1")
    elif how == "hanging":
        monkeypatch.setattr(slurm, "ANSWER_TIMEOUT_S", 0.3)
        for name in ("squeue", "sacct", "scontrol"):
            commands.command(name, "exec /bin/sleep 60")
    elif how == "squeue alone fails":
        commands.command("squeue", "exit 1")


@pytest.mark.parametrize("how", ["missing", "failing", "hanging", "squeue alone fails"])
def test_where_slurm_does_not_answer_the_heartbeat_does(root, stand_in, show, monkeypatch, how):
    MadeRun(root, "alive").started().submitted("1").leg("1-0", 600).log("1").held("1", silent_s=3)
    MadeRun(root, "silent").started().submitted("2").leg("2-0", 9000).log("2").held("2", silent_s=7200)
    MadeRun(root, "waiting").submitted("3")
    run = MadeRun(root, "stopped").started().submitted("4").log("4").held("4", silent_s=900)
    run.outcome("4", "stopped", "stopped by SIGTERM").note("4", "stopped by SIGTERM")
    break_slurm(stand_in, how, monkeypatch)
    began = time.monotonic()
    assert state(show("alive")).startswith("running (job 1 on a100 (node gpu-a100) of cluster mission, sign of life ")
    assert state(show("silent")).startswith("unknown: no sign of life from job 2 on a100")
    assert state(show("waiting")) == "unknown: Slurm gives no answer"
    assert state(show("stopped")) == "stopped: stopped by SIGTERM; perhaps in the queue again: Slurm gives no answer"
    assert "note: " + ("squeue" if how == "squeue alone fails" else "Slurm") + " gives no answer" in show()
    assert time.monotonic() - began < 10


def test_accounting_answers_for_a_queue_that_does_not(root, stand_in, show):
    MadeRun(root, "run").started().submitted("123").log("123").leg("123-0", 900)
    stand_in.command("squeue", "exit 1")
    stand_in.sacct(job_123="RUNNING")
    assert state(show("run")) == "running (by the accounting)"
    stand_in.sacct(job_123="NODE_FAIL")
    assert state(show("run")) == "killed: its node failed"


def test_a_run_of_another_cluster_is_not_taken_for_a_job_of_this_one(root, stand_in, show):
    run = MadeRun(root, "run").started().submitted("123", cluster="elsewhere")
    run.leg("123-0", 900, cluster="elsewhere").held("123", cluster="elsewhere")
    stand_in.squeue(("123", "a100", "PENDING", "Priority", "N/A", ""))
    stand_in.sacct(job_123="FAILED")
    assert "of cluster elsewhere, sign of life" in state(show("run"))
    (run.paths.lease / "000001.json").unlink()
    assert state(show("run")) == "unknown: cluster elsewhere cannot be asked from here"


def test_files_of_another_clusters_job_of_the_same_number(root, stand_in, show):
    run = MadeRun(root, "run").started().log("123", cluster="elsewhere")
    run.note("123", "stopped by the time limit", cluster="elsewhere")
    run.outcome("123", "error", "an old mistake", cluster="elsewhere")
    run.leg("123-0", 9000, 8000, "the time limit", cluster="elsewhere")
    run.submitted("123", seconds_ago=60)
    stand_in.squeue(("123", "a100", "PENDING", "Priority", "N/A", ""))
    assert state(show("run")) == "pending (Priority)"
    stand_in.squeue()
    assert state(show("run")) == "cancelled: it left the queue before it ran"


def test_on_a_machine_without_slurm_nothing_is_asked(trained, stand_in, capsys):
    assert status.main(["--root", str(trained.root)]) == 0
    assert "note:" not in capsys.readouterr().out
    assert stand_in.calls() == []


def test_a_process_of_this_machine_that_was_killed(root, show):
    folder = root / "run" / "jobs" / "20260101-100000-encode"
    folder.mkdir(parents=True)
    (folder / "4194300_0_log.out").write_text("encoding\n")
    assert state(show("run")).startswith("encode unknown: killed, or on another machine")
    (folder / "4194300_0_outcome.json").write_text('{"status": "error", "message": "no frames", "outputs": {}}')
    assert state(show("run")) == "encode failed: no frames"
    (folder / "4194300_0_outcome.json").write_text('{"status": "complete", "message": "", "outputs": {}}')
    (folder / "4194300_1_outcome.json").write_text('{"status": "incomplete", "message": "1 fault", "outputs": {}}')
    assert state(show("run")) == "encode failed: 1 fault"


def many(root, commands):
    MadeRun(root, "trains").started().submitted("1").leg("1-0", 9000, 5000, "the time limit", (0, 9)).leg(
        "1-1", 4000
    ).logged(500_000, clips_per_s=100.0)
    MadeRun(root, "waits").submitted("2").submitted("3", partition="a40")
    MadeRun(root, "done").started().submitted("4").logged(2_000_000, end=True)
    MadeRun(root, "crashed").started().submitted("5").outcome("5", "error", "the disk is full").logged(20_000)
    MadeRun(root, "encodes").submitted("6", "encode").submitted("7")
    commands.squeue(
        ("1", "a100", "RUNNING", "None", "N/A", "gpu-a100"), ("2", "a100", "PENDING", "Priority", soon(), ""),
        ("3", "a40", "PENDING", "Resources", "N/A", ""), ("7", "a100", "PENDING", "Dependency", "N/A", ""),
        ("6", "a100", "RUNNING", "None", "N/A", "gpu-a100"),
    )  # fmt: skip


@pytest.mark.parametrize("columns", [80, 140])
def test_many_runs_are_a_table_and_slurm_is_asked_once_for_all(root, stand_in, show, columns):
    many(root, stand_in)
    shown = show(columns=columns)
    assert stand_in.calls() == ["scontrol", "squeue", "sacct"]
    assert shown.startswith("5 runs: 2 running, 1 pending, 1 failed, 1 complete")
    assert max(map(len, shown.splitlines())) <= columns
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line[0] != " "}
    assert rows["trains"] == ["trains", "running", "25%", "500k/2.00M", "100", "4.17", "h", "1", "a100"]
    assert rows["waits"] == ["waits", "pending", "2", "a100", "+1"]
    assert rows["done"][:4] == ["done", "complete", "100%", "2.00M/2.00M"]
    assert rows["crashed"][:4] == ["crashed", "failed", "1%", "20.0k/2.00M"]
    remarks = [line.strip() for line in shown.splitlines() if line.startswith("    ")]
    assert "1 restart, after: the time limit" in remarks
    assert "the disk is full" in remarks
    assert any(remark.startswith("training not started yet; Priority; starts about ") for remark in remarks)


def test_a_damaged_run_hides_no_other(root, stand_in, show):
    many(root, stand_in)
    (root / "done" / "config.yaml").write_text("name: [")
    (root / "crashed" / "jobs" / "train" / CLUSTER / "5_0_outcome.json").write_text("{")
    shown = show(code=2)
    assert "2 running, 1 pending, 2 unreadable" in shown
    told = "".join(shown.split())
    assert "config.yaml:1:cannotreadthisasYAML:" in told
    assert "5_0_outcome.jsonisdamaged" in told
    assert show("done", code=2).startswith("done: unreadable: ")
    (root / "done" / "config.yaml").write_bytes(b"name: \xff\xfe\n")
    assert "2 running, 1 pending, 2 unreadable" in show(code=2)


def test_a_validation_loss_that_is_not_finite_is_said(root, stand_in, show):
    run = MadeRun(root, "run").started().logged(500)
    append(run.paths.progress_log, kind="validation", clips_seen=500, val_loss=None, time=ago(3))
    append(run.paths.progress_log, kind="train", clips_seen=600, loss=None, clips_per_s=None, mfu=None, time=ago(2))
    lines = {line.split()[0]: line for line in show("run").splitlines() if line.strip()}
    assert lines["validation"].split(maxsplit=1)[1] == "loss not finite at clip 500"
    assert lines["last"].split(maxsplit=2)[2].startswith("loss not finite, ")


STARTED = {"event": "start", "job": "5-0", "partition": "a100", "cluster": CLUSTER, "node": "n", "world_size": 5}
SENT = {"event": "submitted", "job": "9", "stage": "train", "partition": "a100", "cluster": CLUSTER, "command": "c"}


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [
        ("jobs/submissions.jsonl", {**SENT, "time": "soon"}, "a line has time 'soon'"),
        ("jobs/submissions.jsonl", {**SENT, "time": "2026-11-25T00:00:00"}, "a time needs its zone"),
        ("jobs/submissions.jsonl", {**SENT, "time": ago(9), "array": "x"}, "a line has array 'x'"),
        ("jobs/submissions.jsonl", {"event": "ended", "jobs": 3, "why": "x", "cluster": CLUSTER}, "a line has jobs 3"),
        ("progress.jsonl", {"kind": "train", "time": "x", "clips_seen": 3}, "a line has time 'x'"),
        ("progress.jsonl", {"kind": "train", "time": ago(9), "clips_seen": "many"}, "a line has clips_seen 'many'"),
        ("progress.jsonl", {"kind": "validation", "clips_seen": 3, "val_loss": [1]}, "a line has val_loss [1]"),
        ("jobs.jsonl", {**STARTED, "clips": 0, "time": "x"}, "a line has time 'x'"),
        ("jobs.jsonl", {**STARTED, "time": ago(9)}, "a line has no clips"),
        ("jobs.jsonl", {**STARTED, "time": ago(9), "clips": None}, "a line has clips None"),
    ],
)
def test_a_line_of_another_kind_makes_its_run_alone_unreadable(root, stand_in, show, name, line, told):
    many(root, stand_in)
    path = root / "crashed" / name
    append(path, **line)
    shown = show(code=2)
    assert "2 running, 1 pending, 1 unreadable, 1 complete" in shown
    words = "".join(f"{path} is damaged: ".split())
    assert words in "".join(shown.split()) and "".join(told.split()) in "".join(shown.split())
    alone = show("crashed", "trains", code=2)
    assert alone.startswith(f"crashed: unreadable: {path} is damaged: ") and "state        running" in alone


def test_a_note_that_the_timeline_alone_needs_makes_its_run_alone_unreadable(root, stand_in, show):
    many(root, stand_in)
    run = MadeRun(root, "trains").note("1", "the time limit")
    (path,) = run.paths.jobs.rglob("1-0_end.json")
    path.write_text(json.dumps({"why": "the time limit", "time": "x"}))
    MadeRun(root, "waits").leg("2-0", 900, 800, "the time limit").note("2", "the time limit", restart=0)
    shown = show("trains", "waits", code=2)
    assert shown.startswith(f"trains: unreadable: {path} is damaged: it has time 'x'") and "\n\nwaits  (" in shown


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--watch", "soon"], "'soon' is no number of seconds; name runs before it"),
        (["--watch", "0"], "Slurm is asked each time, so at least 1"),
        (["--logs", "everything"], "unknown stage 'everything'; the stages are streets"),
        (["--logs", "--watch"], "not allowed with argument --logs"),
        (["--logs"], "--logs follows one run; name it: crashed, done, encodes, trains, waits"),
        (["waits", "--logs", "sample"], "no job of stage sample of waits was sent off or started"),
    ],
)
def test_mistakes_are_one_line(root, stand_in, show, words, complaint):
    many(root, stand_in)
    said = show(*words, code=2)
    assert complaint in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def stopped_by_ctrl_c(process, after_lines):
    """What a command prints until Ctrl-C, which comes after so many lines."""
    lines = [process.stdout.readline() for _ in range(after_lines)]
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=20)
    assert errors == ""
    assert process.returncode == 0
    return "".join(lines) + rest


def test_watching_prints_anew_and_asks_squeue_once_per_look(command_line, tmp_path, monkeypatch):
    commands = StandIn(tmp_path)
    many(command_line.root, commands)
    monkeypatch.setenv("PATH", commands.path)
    shown = stopped_by_ctrl_c(command_line.start("status", "--watch", "1"), after_lines=40)
    assert shown.count("5 runs: 2 running") >= 2
    assert "\x1b" not in shown
    looks = shown.count("every 1 s; Ctrl-C ends")
    assert looks <= commands.calls().count("squeue") <= looks + 1
    assert commands.calls().count("scontrol") == 1
    assert commands.calls().count("sacct") == 1, "an accounting that does not answer is left in peace"


def test_on_a_terminal_the_watch_is_redrawn_within_it(root, tmp_path):
    commands = StandIn(tmp_path)
    many(root, commands)
    words = [sys.executable, "-m", "vdt_hpc.status", "--watch", "1", "--root", str(root)]
    screen, terminal = os.openpty()
    environment = {**os.environ, "PATH": commands.path, "COLUMNS": "60", "LINES": "8"}
    process = subprocess.Popen(words, stdout=terminal, stderr=terminal, env=environment, start_new_session=True)
    shown = b""
    while shown.count(b"Ctrl-C ends") < 2:
        shown += os.read(screen, 1 << 16)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    os.close(terminal)
    frames = shown.decode().split("\x1b[H")[1:]
    assert frames[0].rstrip().count("\n") <= 8
    assert "more lines; a taller terminal shows them" in frames[0]
    assert all(len(line.split("\x1b")[0]) <= 60 for line in frames[0].splitlines())
    os.close(screen)


def test_a_reader_that_has_had_enough_ends_it_quietly(root, tmp_path):
    many(root, StandIn(tmp_path))
    line = f"{sys.executable} -m vdt_hpc.status --watch 1 --root {root} | head -n 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30)
    assert "every 1 s" in done.stdout
    assert done.stderr == ""


def test_a_folder_that_may_not_be_looked_into_is_shown_with_the_reason(root, stand_in, show, monkeypatch):
    many(root, stand_in)
    is_file = Path.is_file

    def refused(path):
        if path.parent == root / "done":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)  # root, who runs the tests, may look everywhere
    shown = show(code=2)
    assert "2 running, 1 pending, 1 unreadable, 1 failed" in shown
    assert f"cannotread{root}/done/config.yaml:Permissiondenied" in "".join(shown.split())
    assert show("done", code=2).startswith("error: cannot read ")
