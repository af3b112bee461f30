"""The stage `train` as real processes: killed, stopped, spread over ranks, damaged, misconfigured."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import submitit

from jobs import train
from tests.jobs import made_up
from tests.jobs.aftermath import assert_equal, final_state, log_lines
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.signature import signature
from vdt_hpc.store import checkpoint, ledger

HOME = Path(__file__).parents[2]


def start(root, **changes):
    """Start the stage in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.jobs.train_directly", str(root), json.dumps(changes)],
        cwd=HOME, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "SLURM_CPUS_PER_TASK": "1"},
    )  # fmt: skip


def wait_until(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def seen_beyond(paths, clips):
    return any(line["kind"] == "train" and line["clips_seen"] > clips for line in log_lines(paths))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run to its end in one process, with one thread."""
    root = tmp_path_factory.mktemp("uninterrupted")
    run, where = made_up.config(train__total_clips=300), made_up.partition(root)
    paths = made_up.write_latents(run, where)
    process = start(root, train__total_clips=300)
    said, _ = process.communicate(timeout=120)
    assert "complete=True" in said
    return paths


def test_killed_and_resumed_is_bit_for_bit_the_run_that_was_not(tmp_path, uninterrupted):
    run = made_up.config(train__total_clips=300)
    paths = made_up.write_latents(run, made_up.partition(tmp_path))
    for clips in (20, 130):  # within the first updates, and after some checkpoints
        process = start(tmp_path, train__total_clips=300)
        wait_until(lambda clips=clips: seen_beyond(paths, clips), process)
        process.kill()
        process.wait()
        found = checkpoint.newest(paths.checkpoints, signature(run))
        assert found is None or found.clips_seen < 300
    assert train.run(run, made_up.partition(tmp_path)).complete
    assert_equal(final_state(paths), final_state(uninterrupted))
    train_lines = [line for line in log_lines(paths) if line["kind"] == "train"]
    assert [line["clips_seen"] for line in train_lines] == list(range(6, 301, 6))
    reference = {line["clips_seen"]: line["loss"] for line in log_lines(uninterrupted) if line["kind"] == "train"}
    assert {line["clips_seen"]: line["loss"] for line in train_lines} == reference
    assert sum(line["kind"] == "start" for line in log_lines(paths)) in (2, 3)
    *killed, last = ledger.read(paths.ledger)
    assert [(leg.why, leg.end) for leg in killed] == [(ledger.KILLED, None)] * 2
    assert all(
        leg.lost_clips == leg.last_clips - following.first_clips
        for leg, following in zip(killed, [*killed[1:], last], strict=True)
    )
    assert (last.why, last.last_clips, last.lost_clips) == ("complete", 300, 0)


def test_the_time_limit_saves_and_hands_back(tmp_path):
    changes = {"train__total_clips": 60_000, "train__checkpoint_every_clips": 30_000}
    run = made_up.config(**changes)
    paths = made_up.write_latents(run, made_up.partition(tmp_path))
    said, _ = start(tmp_path, partition={"timeout_min": 1, "save_margin_s": 58}, **changes).communicate(timeout=60)
    assert "complete=False stopped by the time limit" in said
    assert checkpoint.newest(paths.checkpoints, signature(run)).clips_seen > 0


def two_ranks(root, run, monkeypatch, limit=2):
    monkeypatch.setenv("PYTHONPATH", str(HOME))
    executor = submitit.LocalExecutor(root / "submitit")
    executor.update_parameters(tasks_per_node=2, timeout_min=5)
    job = executor.submit(train.run, run, made_up.partition(root, tasks_per_node=2, max_clips_per_gpu=limit))
    return job.results()


def test_two_ranks_train_as_one(tmp_path, uninterrupted, monkeypatch):
    run = made_up.config(train__total_clips=300)
    paths = made_up.write_latents(run, made_up.partition(tmp_path))
    assert [result.complete for result in two_ranks(tmp_path, run, monkeypatch)] == [True, True]
    state, reference = final_state(paths), final_state(uninterrupted)
    for part in ("model", "ema"):
        for name, tensor in reference[part].items():
            assert (state[part][name] - tensor).norm() <= 1e-3 * tensor.norm() + 1e-6, name
    for kind, value in (("train", "loss"), ("validation", "val_loss")):
        lines, expected = (
            {line["clips_seen"]: line[value] for line in log_lines(which) if line["kind"] == kind}
            for which in (paths, uninterrupted)
        )
        assert lines == pytest.approx(expected, rel=1e-4)
    assert log_lines(paths)[0]["world_size"] == 2
    assert not list(paths.jobs.glob("rendezvous*"))


def test_a_run_moves_from_two_ranks_to_one(tmp_path, monkeypatch):
    half, whole = made_up.config(train__total_clips=30), made_up.config(train__total_clips=30, tasks__prediction=0.5)
    made_up.write_latents(half, made_up.partition(tmp_path))
    two_ranks(tmp_path, half, monkeypatch)
    with pytest.raises(UserError, match=r"other settings \(tasks.prediction\)"):
        train.run(whole, made_up.partition(tmp_path))
    assert train.run(half, made_up.partition(tmp_path)).summary.startswith("already trained")


def test_a_damaged_checkpoint_falls_back_with_a_line_and_never_to_zero(tmp_path, capsys):
    run, where = made_up.config(), made_up.partition(tmp_path)
    paths = made_up.write_latents(run, where)
    train.run(run, where)
    reference = final_state(paths)
    newest, *older = checkpoint.folders(paths.checkpoints)
    (newest / "checkpoint.json").unlink()
    capsys.readouterr()
    assert train.run(run, where).complete
    said = capsys.readouterr().out
    assert f"skipping the damaged checkpoint {newest}: it has no checkpoint.json" in said
    assert f"resuming from {older[0]}" in said
    assert_equal(final_state(paths), reference)
    for folder in checkpoint.folders(paths.checkpoints):
        (folder / "checkpoint.json").unlink()
    with pytest.raises(UserError, match=r"every checkpoint .* is damaged"):
        train.run(run, where)


def test_a_finished_run_answers_at_once_and_without_torch(tmp_path, uninterrupted):
    code = (
        "import sys; from pathlib import Path; from jobs import train; from tests.jobs import made_up; "
        "heavy = {'torch', 'safetensors'} & set(sys.modules); assert not heavy, heavy; "
        f"result = train.run(made_up.config(train__total_clips=300), made_up.partition({str(uninterrupted.root)!r})); "
        "assert result.complete and 'already' in result.summary; "
        "heavy = {'torch', 'safetensors'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=HOME, check=True)


def test_missing_latents_and_other_latents_are_one_line(tmp_path):
    run, where = made_up.config(train__total_clips=6), made_up.partition(tmp_path)
    with pytest.raises(UserError, match="run the stage encode first"):
        train.run(run, where)
    made_up.write_latents(run, where)
    train.run(run, where)
    longer = made_up.config(train__total_clips=6, train__checkpoint_every_clips=6)
    made_up.write_latents(run, where, seed=1)
    assert train.run(longer, where).summary.startswith("already trained")
    paths = made_up.write_latents(made_up.config(), where, seed=2)
    paths.run_config.unlink()
    with pytest.raises(UserError, match="belongs to another run"):
        train.run(made_up.config(), where)


def test_no_validation_clips_is_said(tmp_path, capsys):
    run, where = made_up.config(train__total_clips=6), made_up.partition(tmp_path)
    made_up.write_latents(run, where, {"train": 2, "test": 1})
    assert train.run(run, where).complete
    assert "no validation clips" in capsys.readouterr().out
