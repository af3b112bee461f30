"""A rehearsal as people meet it: the same, different, stopped, killed, in the wrong place; and how it judges."""

import errno
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.jobs import aftermath, made_up
from vdt_hpc.cluster.job import Outcome
from vdt_hpc.commandline import load_partition, load_run
from vdt_hpc.commands import rehearsal
from vdt_hpc.commands.rehearsing import short_run, twins
from vdt_hpc.commands.rehearsing.scratch import scratch
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.lease.lease import Lease
from vdt_hpc.lease.owner import Owner
from vdt_hpc.store import checkpoint

FORGETFUL = """\
import importlib.abc, importlib.util, sys

class Breaker(importlib.abc.MetaPathFinder):
    '''Resumes without the optimizer's momentum.'''
    def find_spec(self, name, path, target=None):
        if name != "jobs.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        whole = spec.loader.exec_module
        def exec_module(module):
            whole(module)
            load = module.Trainer.load
            def forget(trainer, state):
                tensors = state["optimizer"].items()
                kept = {name: tensor * (not name.endswith(".exp_avg")) for name, tensor in tensors}
                load(trainer, {**state, "optimizer": kept})
            module.Trainer.load = forget
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Breaker())
"""


@pytest.fixture
def made(command_line, monkeypatch):
    """A command line whose root has the latents of a made-up run, and no run yet."""
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    run = made_up.config()
    command_line.paths = made_up.write_latents(run, made_up.partition(command_line.root))
    command_line.file = command_line.root.parent / "run.yaml"
    command_line.file.write_text(run.model_dump_json())
    command_line.words = ("--rehearse", "--run", command_line.file)
    return command_line


def contents(folder):
    """Everything in a folder, and when it was changed."""
    return {path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def on_a_terminal(words, **options):
    """Run a command with its output on a terminal; returns exit status, what the terminal showed, and stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    shown = []

    def read():
        try:
            while piece := os.read(ours, 4096):
                shown.append(piece)
        except OSError:  # how a terminal says that its other side has closed
            pass

    process = subprocess.Popen(words, stdout=theirs, stderr=subprocess.PIPE, text=True, **options)
    os.close(theirs)
    reader = threading.Thread(target=read)
    reader.start()
    errors = process.communicate(timeout=120)[1]
    reader.join()
    os.close(ours)
    return process.returncode, b"".join(shown).decode(), errors


def test_the_same_beside_a_job_that_trains_the_run_and_after_a_rehearsal_that_was_killed(made):
    """The output is a terminal."""
    killed = made.start("launch", *made.words)
    wait_for(lambda: list(made.paths.rehearsals.glob("*/undisturbed/jobs/*/*_log.out")))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    abandoned = set(made.paths.rehearsals.iterdir())
    assert len(abandoned) == 2

    lease = Lease(made.paths.lease, Owner.this_process("here"), timeout_s=3600)
    assert lease.try_acquire()
    made.paths.checkpoints.mkdir()
    for path in (made.paths.run_config, made.paths.progress_log, made.paths.ledger):
        path.write_text("of a job that trains now\n")
    before = contents(made.paths.run), contents(made.paths.latents)
    before = [{path: kept for path, kept in each.items() if "rehearsal" not in path.parts} for each in before]
    status, shown, errors = on_a_terminal(made.arguments("launch", *made.words), cwd=Path(__file__).parents[2])
    assert (status, errors) == (0, ""), shown
    lines = [line for line in shown.replace("\r", "\n").split("\n") if line]
    assert "with 1 task of local: 6 updates of 2 clips" in lines[0]
    assert any("rehearse: 100%" in line and "12/12" in line for line in lines), lines
    assert lines[-1].startswith("bit for bit the same: every loss, and every file of the last checkpoint; ")
    rows = [line.split() for line in lines if line.endswith("0.0e+00") or "resumed from it" in line]
    assert [row[0] for row in rows] == ["2", "4", "6", "8", "10", "12", "validation"]
    assert all(float(row[1]) == float(row[2]) > 0 for row in rows)
    assert [contents(made.paths.run), contents(made.paths.latents)] == before
    lease.release()


def test_a_resume_that_forgets_something_is_found(made, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(FORGETFUL)
    done = made.run("launch", *made.words, env={"PYTHONPATH": str(tmp_path / "broken")})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: a resume on this machine is not the undisturbed training: the loss differs ")
    assert (
        "differs first at clip 10 (" in done.stderr
    )  # the first gradient after clip 6 is still the same, the update not
    assert "other bytes in ema.safetensors, model.safetensors, optimizer.safetensors" in done.stderr
    assert "rehearse" not in done.stdout.replace("rehearsal", "")  # no bar
    (note,) = made.paths.rehearsals.glob("*.json")
    kept = note.with_suffix("")
    assert f"its files stay in {kept} until" in done.stderr
    assert (kept / "undisturbed" / "progress.jsonl").exists()
    assert (kept / "resumed-1" / "checkpoints" / "clips-000000012" / "checkpoint.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_nothing(made, number):
    process = made.start("launch", *made.words)
    log = "undisturbed/progress.jsonl" if number == signal.SIGINT else "undisturbed/jobs/*/*_log.out"
    wait_for(lambda: list(made.paths.rehearsals.glob(f"*/{log}")))
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # the whole group, as from a terminal's Ctrl-C
    else:
        process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 3, output + errors
    assert errors.splitlines()[-1] == "the rehearsal was stopped before its end; nothing of it is left"
    assert "Traceback" not in output + errors
    assert not made.paths.run.exists()
    assert aftermath.processes_that_mention(made.root) == []


def test_mistakes_are_one_line(made, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    said = made.refused("--rehearse", partition="a40", run=made.file)
    assert (
        "this is no node of a40; start it there: srun --partition=a40 --nodes=1 --ntasks=1 --cpus-per-task=32 " in said
    )
    assert "--gpus-per-node=4 --mem=204800M --time=15 --pty python -m vdt_hpc.launch --rehearse --partition a40" in said
    assert "or rehearse on this machine with --partition local" in said
    assert "takes no stage (train)" in made.refused("train", "--rehearse", run=made.file)
    said = made.refused("--rehearse", "data.frames_per_clip=9", run=made.file)
    assert "no finished latents at" in said
    assert "run the stage encode first" in said
    assert not made.paths.run.exists()


def test_a_crash_names_the_log_and_keeps_it(made, tmp_path):
    begin = "def exec_module(module):\n"
    crash = begin + "            raise OSError('broken')\n"
    (tmp_path / "sitecustomize.py").write_text(FORGETFUL.replace(begin, crash))
    done = made.run("launch", *made.words, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.startswith("error: the rehearsal failed: stage train crashed on task 0: OSError: broken; ")
    assert Path(done.stderr.split("the traceback is in ")[1].split(" (its files stay in ")[0]).exists()


def test_trainings_that_end_before_they_can_be_killed(made, monkeypatch, capsys):
    def too_fast(job, partition, jobs_folder, stops, watch):
        config = RunConfig.model_validate_json(job.config)
        for clips in range(2, config.train.total_clips + 1, 2):
            folder = paths_for(config, partition).checkpoints / checkpoint.folder_name(clips)
            folder.mkdir(parents=True)
        watch(SimpleNamespace(kill=lambda: None))
        return Outcome("complete", "", {})

    monkeypatch.setattr(rehearsal, "run_local", too_fast)
    monkeypatch.setattr(twins.Trace, "read", lambda paths, total_clips: UNDISTURBED)
    here = load_partition("local").model_copy(update={"root": str(made.root)})
    assert rehearsal.rehearse(made.paths.config, here, made.paths) == 1
    assert "failed: training ended 3 times before it could be killed; run the" in capsys.readouterr().err
    assert len(list(made.paths.rehearsals.glob("*/resumed-*"))) == 3


def test_a_stop_that_comes_too_late_for_one_training_keeps_the_next_from_starting(made, monkeypatch, capsys):
    def complete(job, partition, jobs_folder, stops, watch):
        os.kill(os.getpid(), signal.SIGTERM)
        return Outcome("complete", "", {})

    monkeypatch.setattr(rehearsal, "run_local", complete)
    monkeypatch.setattr(twins.Trace, "read", lambda paths, total_clips: UNDISTURBED)
    here = load_partition("local").model_copy(update={"root": str(made.root)})
    assert rehearsal.rehearse(made.paths.config, here, made.paths) == 3
    assert "stopped before its end; nothing of it is left" in capsys.readouterr().err


TRACE = twins.Trace({2: 1.0, 4: 0.9, 6: 0.8}, 0.7, {"model.safetensors": "a", "ema.safetensors": "b"}, (0, 4), 2)
UNDISTURBED = replace(TRACE, starts_clips=(0,), lost_clips=0)
OTHER_BYTES = {"model.safetensors": "c", "ema.safetensors": "b"}


@pytest.mark.parametrize(
    ("changes", "on_cpus", "on_gpus", "said"),
    [
        ({}, True, True, "bit for bit the same"),
        ({"sha256": OTHER_BYTES}, False, True, "not bit for bit the same state: other bytes in model.safetensors"),
        ({"losses": {2: 1.0, 4: 0.9, 6: 0.8 * (1 + 9e-6)}}, False, True, "at most 9.0e-06, limit"),
        ({"losses": {2: 1.0, 4: 0.9, 6: 0.8 * (1 + 2e-5)}}, False, False, "differs first at clip 6 (relative"),
        ({"losses": {2: 1.0, 4: 0.91, 6: 0.8}}, False, False, "at clip 4, before the kill: computing itself"),
        ({"losses": {2: 1.0, 4: 0.9, 6: None}}, False, False, "at most inf"),
        ({"losses": {2: 1.0, 6: 0.8}}, False, False, "no loss at clip 4"),
        ({"validation": 0.8}, False, False, "differs first in the validation at the end"),
        ({"starts_clips": (0, 0)}, False, False, "did not go on from clip 4: it began at 0 and 0"),
        ({"starts_clips": (0, 6)}, False, False, "did not go on from clip 4: it began at 0 and 6"),
    ],
)  # fmt: skip
def test_the_verdict(changes, on_cpus, on_gpus, said):
    resumed = replace(TRACE, **changes)
    verdicts = [twins.judge(UNDISTURBED, resumed, 4, bitwise) for bitwise in (True, False)]
    assert [verdict.is_same for verdict in verdicts] == [on_cpus, on_gpus]
    assert all(said in verdict.message for verdict in verdicts)


@pytest.mark.parametrize(
    ("name", "gpus", "said"),
    [
        ("a100", "0,1,2,3,4", ["export CUDA_VISIBLE_DEVICES=0,1,2,3,4"]),
        ("a40", "3,4,5,6,7", ["export CUDA_VISIBLE_DEVICES=3,4,5,6"]),
        ("local", "3", []),
    ],
)
def test_in_a_job_of_slurm_the_tasks_are_processes_of_the_node_on_the_jobs_gpus(monkeypatch, name, gpus, said):
    for variable, value in {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n", "CUDA_VISIBLE_DEVICES": gpus}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    profile = load_partition(name)
    here = short_run.on_this_node(profile)
    assert (here.executor, here.num_nodes, here.world_size) == ("local", 1, profile.num_tasks_per_node)
    assert list(here.setup) == said
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(UserError, match="srun has started 4 rehearsals at once; give it --ntasks=1"):
        short_run.on_this_node(profile)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    if profile.gpus_per_node:
        with pytest.raises(UserError, match=f"has {profile.gpus_per_node} GPUs, and this process may use 2; ask for"):
            short_run.on_this_node(profile)


def test_the_short_run_has_the_runs_own_micro_batch_on_gpus_and_a_learning_rate_that_shows(monkeypatch):
    run = load_run("cityscapes")
    short = short_run.shorten(run, load_partition("a40"))  # 80 clips on 4 tasks: 20 each, in 4 micro-batches of 5
    assert (short.partition.max_clips_per_gpu, short.step_clips, short.total_clips) == (5, 40, 240)
    assert short.config.optim.warmup_clips == 40
    compiled = load_partition("a40").model_copy(update={"compile": True})
    assert not short_run.shorten(run, compiled).partition.compile
    assert (short.config.model, short.config.data, short.config.train.precision) == (run.model, run.data, "bf16")
    assert short_run.shorten(run, load_partition("local")).step_clips == 2
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**9))
    with pytest.raises(UserError, match=r"needs .* GB for its checkpoints, and 1 GB are free under"):
        short_run.require_space(run, Path("/"))


def test_folders_of_others_stay_and_abandoned_ones_go(tmp_path, capsys):
    folder = tmp_path / "run" / "rehearsal"
    with scratch(folder, "here") as mine:
        elsewhere = replace(Owner.this_process("there"), host="elsewhere", token="f" * 32)
        note = folder / f"{elsewhere.token}.json"
        note.write_text(json.dumps(elsewhere.to_json()))
        (folder / elsewhere.token).mkdir()
        with scratch(folder, "here"):
            assert mine.path.is_dir()
        assert "may still be used by process" in capsys.readouterr().out
        assert note.exists()
        os.utime(note, (0, 0))
        with scratch(folder, "here"):
            assert not note.exists()
            assert not (folder / elsewhere.token).exists()
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_removed_is_named_and_tried_again(tmp_path, capsys, monkeypatch):
    def refuse(path):
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    folder = tmp_path / "rehearsal"
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", refuse)
        with scratch(folder, "here") as mine:
            pass
    assert f"/.{mine.path.name} could not be removed: Directory not empty" in capsys.readouterr().err
    note = folder / f"{mine.path.name}.json"
    note.write_text(json.dumps(replace(Owner.this_process("here"), pid_start=1).to_json()))  # of a process that is gone
    with scratch(folder, "here"):
        assert not note.exists()
    assert not folder.exists()
