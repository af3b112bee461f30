"""`python -m vdt_hpc.status`, as a user types it."""

import json
import shutil

import pytest


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
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "complete" in lines["training"]
    assert "nobody now" in lines["trained"]
    assert "2, newest clips-000000024" in lines["checkpoints"]
    logged = [json.loads(text) for text in (trained.root / "smoke" / "progress.jsonl").read_text().splitlines()]
    loss = [line["loss"] for line in logged if line["kind"] == "train"][-1]
    assert f"loss {loss:.4f}" in lines["last"]


def test_a_named_run_tells_which_jobs_trained_it(trained):
    line = trained.run("status", "smoke").stdout.splitlines()[-1]
    assert "local x 1" in line
    assert "clips 0 -> 24: complete" in line


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
