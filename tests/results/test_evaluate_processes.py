"""`python -m vdt_hpc.launch evaluate` leaves the same records from one process, from three, and after being killed."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.quality.made_alexnet import alexnet
from tests.results.conftest import make_run, smooth_clips
from vdt_hpc.store.samples import part_path

METRICS = "evaluate.metrics=[psnr, ssim, lpips, fvd]"
NUM_CLIPS = 64
"""Eight parts, so that five killed processes cannot finish them: each is killed within its first or second part."""
NUM_KILLS = 5


class Evaluated:
    """A run with finished samples, measured at the command line."""

    def __init__(self, run, line):
        self.run, self.line = run, line
        self.measures = run.paths.samples / run.info().name / "measures"

    def words(self, partition):
        return ["evaluate", "--run", self.run.paths.run_config, "--partition", partition, METRICS]

    def finish(self, partition="local"):
        """Measure what is missing; the records and all that was kept, by file."""
        done = self.line.run("launch", *self.words(partition))
        assert done.returncode == 0, done.stdout + done.stderr
        kept = {path.relative_to(self.measures): content(path) for path in self.files()}
        return sorted(self.run.paths.records.read_text().splitlines()), kept

    def files(self):
        return list(self.measures.glob("*/[!.]*.h5"))

    def forget(self):
        self.run.paths.records.unlink()
        for path in self.files():
            path.unlink()


def content(path):
    import h5py

    with h5py.File(path) as file:
        return file["values"][:].tobytes(), [str(name) for name in file["clip_id"].asstr()[:]], file.attrs["how"]


@pytest.fixture
def evaluated(made_up, tiny_i3d, command_line, random_autoencoder, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")  # one task has all cores, three have a share each
    tiny_i3d()
    save_file(alexnet(), tmp_path / "weights" / "alexnet-owt-7be5be79.safetensors")
    run = make_run(command_line.root, smooth_clips(NUM_CLIPS, size=32), random_autoencoder)
    run.write_samples(run.frames[:, None] ^ 8)
    return Evaluated(run, command_line)


@pytest.fixture
def three_tasks(tmp_path):
    path = tmp_path / "three.yaml"
    path.write_text("name: three\nexecutor: local\ntasks_per_node: 3\nmax_clips_per_gpu: 2\n")
    return path


def task_of(process):
    """The process that runs the stage: the only child of the launcher's only child; None while it does not run."""
    pid = process.pid
    for _ in range(2):
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        if len(children) != 1:
            return None
        pid = int(children[0])
    return pid


def kill_at_a_random_moment(evaluated, draw):
    """Start an evaluation and kill -9 its task some files later; returns how many it had written."""
    before, wanted = len(evaluated.files()), draw.randint(1, 16)
    process = evaluated.line.start("launch", *evaluated.words("local"))
    deadline = time.monotonic() + 120
    while len(evaluated.files()) < before + wanted:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.1))
    os.kill(task_of(process), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "stage evaluate crashed on task 0: it ended without a result" in errors
    return len(evaluated.files()) - before


def test_three_processes_and_five_kills_leave_the_records_of_one_go(evaluated, three_tasks):
    records, kept = evaluated.finish()
    assert all(json.loads(line)["value"] is not None for line in records)
    assert len(records) == 16 and len(kept) == 8 * 16  # truth beside four subjects, and no FVD of the real one's own

    evaluated.forget()
    assert evaluated.finish(three_tasks) == (records, kept)

    evaluated.forget()
    draw = random.Random(7)
    for _ in range(NUM_KILLS):
        assert kill_at_a_random_moment(evaluated, draw) >= 1
        assert not evaluated.run.paths.records.exists()
    assert len(evaluated.files()) < len(kept)
    assert evaluated.finish() == (records, kept)
    assert not list(evaluated.measures.rglob("*.tmp"))


def test_a_damaged_part_is_no_end_of_the_other_tasks(evaluated, three_tasks):
    part_path(evaluated.run.paths.samples / evaluated.run.info().name, 1).write_bytes(b"half of it")
    done = evaluated.line.run("launch", *evaluated.words(three_tasks), "evaluate.metrics=[psnr]")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: 1 fault: ")
    outcomes = [json.loads(path.read_text()) for path in evaluated.run.paths.jobs.rglob("*_outcome.json")]
    assert [outcome["status"] for outcome in outcomes] == ["incomplete"] * 3
    rows = [json.loads(line)["subject"] for line in evaluated.run.paths.records.read_text().splitlines()]
    assert sorted(rows) == ["autoencoder", "copy-last-frame", "real-against-real"]
    assert len(list(evaluated.measures.glob("model/*.h5"))) == NUM_CLIPS // 8 - 1
