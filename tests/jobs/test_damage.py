"""Damaged checkpoints, full disks and folders that cannot be used: training goes on from the last valid one, or says
in one line why it does not; never from zero."""

import json
import os
import pickle
import shutil
import subprocess

import pytest

from jobs import train as stage
from tests.jobs import aftermath, made_up
from tests.jobs.ranks import Ranks, train
from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.store import checkpoint

RUN = made_up.config()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run to its end, by one rank."""
    where = made_up.partition(tmp_path_factory.mktemp("finished"))
    paths = made_up.write_latents(RUN, where)
    stage.run(RUN, where)
    return paths


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """A run to its end, by two ranks."""
    root = tmp_path_factory.mktemp("by_two")
    paths = made_up.write_latents(RUN, made_up.partition(root))
    train(root, {}, 2)
    return paths


def unended(finished, root):
    """A copy of the run, killed just before it said that it had ended."""
    shutil.copytree(finished.root, root)
    where = made_up.partition(root)
    paths = made_up.paths_for(RUN, where)
    kept = [line for line in paths.progress_log.read_text().splitlines(True) if '"end"' not in line]
    paths.progress_log.write_text("".join(kept))
    return where, paths


def harm_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Evil:
    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


def disguised(newest):
    file = newest / "model.safetensors"
    file.write_bytes(pickle.dumps(Evil(newest.parent / "evil")))
    mark = json.loads((newest / "checkpoint.json").read_text())
    mark["files"][file.name] = {"sha256": files.sha256(file), "num_bytes": file.stat().st_size}
    (newest / "checkpoint.json").write_text(json.dumps(mark))


def half_written(newest):
    (newest / "ema.safetensors").unlink()
    shutil.copytree(newest, newest.with_name(".clips-000000060.000001.tmp"))
    (newest / "checkpoint.json").unlink()


HARMS = {
    "truncated": lambda newest: os.truncate(newest / "ema.safetensors", 5_000),
    "emptied": lambda newest: os.truncate(newest / "optimizer.safetensors", 0),
    "a byte of the model": lambda newest: harm_byte(newest / "model.safetensors"),
    "a byte of the average": lambda newest: harm_byte(newest / "ema.safetensors"),
    "a byte of the optimizer": lambda newest: harm_byte(newest / "optimizer.safetensors"),
    "a byte of the JSON": lambda newest: harm_byte(newest / "checkpoint.json"),
    "the JSON of another": lambda newest: shutil.copy(newest.with_name("clips-000000054") / "checkpoint.json", newest),
    "half-written": half_written,
    "its model alone": lambda newest: [path.unlink() for path in newest.iterdir() if path.name[0] != "m"],
    "a pickle in disguise": disguised,
}


@pytest.mark.parametrize("harm", HARMS)
def test_the_one_before_a_damaged_checkpoint_leads_to_the_same_end(tmp_path, finished, harm, capsys):
    where, paths = unended(finished, tmp_path / "root")
    HARMS[harm](checkpoint.folders(paths.checkpoints)[0])
    capsys.readouterr()
    assert stage.run(RUN, where).complete
    said = capsys.readouterr().out
    assert said.count(f"skipping the damaged checkpoint {paths.checkpoints / 'clips-000000060'}: ") == 1
    assert f"resuming from {paths.checkpoints / 'clips-000000054'}" in said
    aftermath.assert_same_run(paths, finished)
    aftermath.assert_tidy(paths)
    assert not (paths.checkpoints / "evil").exists()


def test_the_json_of_another_run_is_one_line(tmp_path, finished):
    where, paths = unended(finished, tmp_path / "root")
    newest = checkpoint.folders(paths.checkpoints)[0]
    mark = json.loads((newest / "checkpoint.json").read_text())
    (newest / "checkpoint.json").write_text(json.dumps(mark | {"signature": "another"}))
    with pytest.raises(UserError, match="clips-000000060 belongs to another run") as caught:
        stage.run(RUN, where)
    assert "\n" not in str(caught.value)
    assert aftermath.positions(paths, "start") == [0]


def mount(*words):
    if subprocess.run(["mount", *map(str, words)], capture_output=True).returncode:
        pytest.skip("mounting needs root")


@pytest.fixture
def small_disk(tmp_path):
    """The run's folder as a disk of its own; latents and the ranks' own output lie elsewhere."""
    paths = made_up.write_latents(RUN, made_up.partition(tmp_path))
    paths.run.mkdir()
    mount("-t", "tmpfs", "-o", "size=600k", "tmpfs", paths.run)
    yield paths
    subprocess.run(["umount", paths.run], check=True)


def one_line(job):
    """The line that all ranks end with."""
    outcomes = job.outcomes(60)
    lines = {outcome.get("error") for outcome in outcomes}
    assert len(lines) == 1 and None not in lines, outcomes
    (line,) = lines
    assert "\n" not in line
    return line


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_disk_that_is_full_while_saving_ends_the_run_in_one_line(small_disk, finished, by_two, world_size):
    said = one_line(Ranks(small_disk.root, {}, world_size))
    assert said.startswith(f"the disk is full: cannot write {small_disk.checkpoints}/.clips-000000054")
    assert aftermath.newest(small_disk).clips_seen == 36
    assert not list(small_disk.checkpoints.glob(".*"))
    mount("-o", "remount,size=8m", small_disk.run)
    train(small_disk.root, {}, world_size)
    assert aftermath.positions(small_disk, "start") == [0, 36]
    aftermath.assert_same_run(small_disk, finished if world_size == 1 else by_two)
    aftermath.assert_tidy(small_disk)


def test_a_disk_that_is_full_for_one_rank_ends_both(tmp_path, by_two):
    paths = made_up.write_latents(RUN, made_up.partition(tmp_path))
    said = one_line(Ranks(tmp_path, {}, 2, before="tests.jobs.hooks:second_save_full_on_rank_1"))
    assert said.startswith(f"the disk is full: cannot write {paths.checkpoints}/.clips-000000036")
    assert aftermath.newest(paths).clips_seen == 18
    aftermath.assert_tidy(paths)
    train(tmp_path, {}, 2)
    aftermath.assert_same_run(paths, by_two)


def test_a_disk_without_a_byte_for_the_log_ends_the_run_in_one_line(small_disk):
    mount("-o", "remount,size=8m", small_disk.run)
    changes = {"train__total_clips": 6_000, "train__checkpoint_every_clips": 2_000}
    job = Ranks(small_disk.root, changes, 2, before="tests.jobs.hooks:training")
    job.wait_for(lambda: all((job.folder / f"{rank}.training").exists() for rank in (0, 1)))
    fill(small_disk.run / "filler")
    (job.folder / "go").touch()
    assert one_line(job).startswith(f"the disk is full: cannot write {small_disk.progress_log}")
    assert aftermath.newest(small_disk) is None
    logged = aftermath.positions(small_disk, "train")
    assert logged == list(range(6, logged[-1] + 1, 6))


def test_a_full_disk_when_a_job_starts_is_one_line(small_disk, finished):
    mount("-o", "remount,size=8m", small_disk.run)
    fill(small_disk.run / "filler")
    assert one_line(Ranks(small_disk.root, {}, 2)).startswith(f"the disk is full: cannot write {small_disk.run}")
    (small_disk.run / "filler").unlink()
    train(small_disk.root, {})
    aftermath.assert_same_run(small_disk, finished)


def fill(path):
    """Take all the space of a disk."""
    with pytest.raises(OSError, match="No space"), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_disk_that_cannot_be_written_is_one_line(tmp_path, finished):
    _, paths = unended(finished, tmp_path / "root")
    (tmp_path / "root" / "ranks").mkdir(exist_ok=True)
    mount("--bind", paths.run, paths.run)
    try:
        mount("-o", "remount,ro,bind", paths.run)
        said = one_line(Ranks(paths.root, {}, 2))
    finally:
        subprocess.run(["umount", paths.run], check=True)
    assert said.startswith(f"cannot write {paths.jobs}: Read-only file system; choose a root that you may write to")
    train(paths.root, {})
    aftermath.assert_same_run(paths, finished)


def test_a_checkpoint_that_may_not_be_read_is_passed_over(tmp_path, finished):
    _, paths = unended(finished, tmp_path / "root")
    newest = paths.checkpoints / "clips-000000060"
    newest.chmod(0)
    job = Ranks(paths.root, {}, before="tests.jobs.hooks:without_privileges")
    (outcome,) = job.outcomes(60)
    assert outcome.get("complete"), (outcome, job.said())
    assert f"skipping the damaged checkpoint {newest}: it cannot be read (Permission denied)" in job.said()
    assert f"resuming from {paths.checkpoints / 'clips-000000054'}" in job.said()
    aftermath.assert_same_run(paths, finished)


@pytest.mark.parametrize("noun", ["run", "checkpoints", "lease", "latents", "jobs"])
def test_a_folder_that_may_not_be_used_is_one_line(tmp_path, finished, noun):
    _, paths = unended(finished, tmp_path / "root")
    folder = getattr(paths, noun)
    folder.chmod(0)
    said = one_line(Ranks(paths.root, {}, 2, before="tests.jobs.hooks:without_privileges"))
    folder.chmod(0o700)
    assert "Permission denied" in said
    assert str(folder) in said
    assert aftermath.positions(paths, "start") == [0]
    assert aftermath.newest(paths).clips_seen == 60
