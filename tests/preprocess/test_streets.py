"""The stage `streets`: Cityscapes' layout, nothing twice, whole after a kill."""

import errno
import os
import re
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from preprocess import street_clips, streets
from preprocess.source.opening import open_index
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import STREETS_COMPLETE, paths_for

SMALL = {"num_train_clips": 4, "num_val_clips": 1, "num_test_clips": 2, "frame_width_px": 64, "frame_height_px": 32}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished folder of clips: (bench maker's arguments are the module's SMALL)."""
    from vdt_hpc.experiment.config import RunConfig
    from vdt_hpc.experiment.data_config import StreetsConfig
    from vdt_hpc.experiment.partition import Partition

    config = RunConfig(streets=StreetsConfig(**SMALL))
    partition = Partition(name="local", executor="local", root=str(tmp_path_factory.mktemp("streets")))
    streets.run(config, partition)
    return config, partition


def test_layout(finished):
    config, partition = finished
    folder = paths_for(config, partition).frames
    names = list(contents(folder))
    assert len(names) == 7 * 30
    layout = r"leftImg8bit_sequence/(train|val|test)/([a-z]+)/\2_\d{6}_\d{6}_leftImg8bit\.png"
    assert all(re.fullmatch(layout, name) for name in names)
    cities = {split: {name.split("/")[2] for name in names if f"/{split}/" in name} for split in ("train", "test")}
    assert not cities["train"] & cities["test"]
    with Image.open(folder / names[0]) as image:
        assert (image.size, image.mode) == ((64, 32), "RGB")


def test_the_index_reads_them(finished):
    config, partition = finished
    source = open_index(config, paths_for(config, partition))
    assert [len(source.split(split)) for split in ("train", "val", "test")] == [4, 1, 2]
    assert source.left_out == ()


def test_again_does_nothing(finished, monkeypatch):
    config, partition = finished
    monkeypatch.setattr(streets, "_make", lambda *_: pytest.fail("clips were made again"))
    assert "nothing to do" in streets.run(config, partition).summary


def test_other_settings_are_refused(finished, bench, tmp_path):
    run = bench(streets=SMALL)
    folder = paths_for(run.config, run.partition).frames
    folder.mkdir(parents=True)
    (folder / "streets.json").write_text('{"seed": 5}')
    with pytest.raises(UserError, match=r"other settings .*seed.*remove the folder"):
        streets.run(run.config, run.partition)


def test_a_run_without_streets_is_a_mistake(bench):
    run = bench()
    with pytest.raises(UserError, match="no section streets"):
        streets.run(run.config, run.partition)


def test_tasks_share_the_clips(bench, monkeypatch, finished):
    from vdt_hpc import dist

    run = bench(streets=SMALL)
    folder = paths_for(run.config, run.partition).frames
    summaries = []
    for rank in (1, 0):
        monkeypatch.setattr(dist, "current_task", lambda rank=rank: dist.Task(rank=rank, world_size=2))
        summaries.append(streets.run(run.config, run.partition).summary)
        assert (folder / STREETS_COMPLETE).exists() == (rank == 0)
    assert "other tasks" in summaries[0]
    assert contents(folder) == contents(paths_for(*finished).frames)


def test_a_full_disk_is_one_line_and_leaves_no_frame(bench, monkeypatch):
    run = bench(streets=SMALL)
    saved = []

    def save(self, path, **options):
        saved.append(path)
        if len(saved) == 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(b"x")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(UserError, match="the disk is full"):
        street_clips.make_clip(orders(run)[0])
    assert not [path for path in paths_for(run.config, run.partition).frames.rglob("*") if path.is_file()]


def test_a_killed_run_goes_on(bench, finished):
    run = bench(streets=SMALL)
    folder = paths_for(run.config, run.partition).frames
    process = run.start("streets")
    deadline = time.monotonic() + 60
    while len(contents(folder)) < 30 and time.monotonic() < deadline:
        time.sleep(0.01)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / STREETS_COMPLETE).exists()
    assert wait_until(lambda: not any(is_alive(child) for child in children)), "workers outlived their parent"
    with pytest.raises(UserError, match="run the stage streets again"):
        open_index(run.config, paths_for(run.config, run.partition))
    done = {order for order in orders(run) if order.is_done()}
    made = []
    original = streets._make
    try:
        streets._make = lambda missing, *rest: (made.extend(missing), original(missing, *rest))[1]
        streets.run(run.config, run.partition)
    finally:
        streets._make = original
    assert not done & set(made)
    assert not list(folder.rglob("*.tmp"))
    assert contents(folder) == contents(paths_for(*finished).frames)


def orders(run):
    folder = paths_for(run.config, run.partition).frames
    return streets._orders(run.config.streets, run.config.data.frames_per_clip, folder)


def is_alive(pid):
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_until(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
