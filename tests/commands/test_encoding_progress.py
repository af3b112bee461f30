"""`python -m vdt_hpc.status` while a run's latents are encoded: the tasks of an array together, from files alone."""

import json
import os
import time

import pytest

from tests.commands.made_runs import MadeRun
from vdt_hpc import status


class Encoding:
    """A run whose latents are on their way: 80 shards of 1,920 frames each."""

    def __init__(self, root):
        self.run = MadeRun(root, "new").submitted("123", "encode", partition="a40", array=3)
        self.folder = root / "latents" / "cityscapes-0123"
        self.folder.mkdir(parents=True)
        self.run.paths.latents_note.write_text(json.dumps({"latents": self.folder.name}))

    def begun(self, seconds_ago, **changes):
        content = {"num_shards": 80, "num_frames": 80 * 1920, **changes}
        self._write("encoding.json", json.dumps(content), seconds_ago)
        return self

    def finished(self, *seconds_ago):
        there = len(list(self.folder.glob("*.h5")))
        for number, moment in enumerate(seconds_ago, there):
            self._write(f"train-{number:05d}.h5", "", moment)
        self._write(".train-00099.h5.node-1.tmp", "half of it", 0)
        return self

    def _write(self, name, text, seconds_ago):
        path = self.folder / name
        path.write_text(text)
        os.utime(path, (time.time() - seconds_ago,) * 2)


@pytest.fixture
def encoding(tmp_path, stand_in):
    stand_in.missing("squeue", "sacct", "scontrol")
    return Encoding(tmp_path / "runs")


@pytest.fixture
def said(tmp_path, capsys, monkeypatch):
    """The line on the encoding, of one run."""
    monkeypatch.setenv("COLUMNS", "120")

    def run():
        assert status.main(["new", "--root", str(tmp_path / "runs")]) == 0
        lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line]
        return next((words[1] for words in lines if words[0] == "encoding"), None)

    return run


def test_speed_and_time_left_of_all_tasks_together(encoding, said):
    """Three tasks, each a shard every 96 s, side by side: 60 frames/s."""
    encoding.begun(970).finished(*(970 - 96 * turn - task for turn in range(1, 11) for task in range(3)))
    assert said() == "30 of 80 shards, 59.9 frames/s, 26.7 min left"


def test_a_pause_does_not_count(encoding, said):
    first = [7200 + 32 * number for number in range(10)]
    encoding.begun(7200 + 320).finished(*first, *(32 * number for number in range(10)))
    assert said().startswith("20 of 80 shards, 60 frames/s, 32 min left")


def test_the_speed_is_that_of_the_latest_shards(encoding, said):
    """Ten times as many tasks as at first."""
    slow, fast = [200 + 320 * number for number in range(9)], [5 + 4 * number for number in range(45)]
    encoding.begun(200 + 320 * 9).finished(*slow, *fast)
    assert said() == "54 of 80 shards, 480 frames/s, 104 s left"


def test_nothing_finished_for_long(encoding, said):
    encoding.begun(40_000).finished(*(7 * 86400 - 32 * number for number in range(10)))
    assert said().startswith("10 of 80 shards, no shard finished since 20")  # with its date


def test_before_the_first_shard_and_after_the_last(encoding, said):
    assert said() is None
    assert encoding.begun(60).finished() and said().startswith("0 of 80 shards, begun ")
    encoding.finished(*range(80))
    assert said() == "80 of 80 shards, not yet looked at and published"
    (encoding.folder / "manifest.json").write_text("{}")
    assert said() is None


def test_shards_that_were_copied_tell_no_speed(encoding, said):
    encoding.begun(10).finished(*[10] * 5)
    assert said() == "5 of 80 shards"


def test_latents_that_an_earlier_version_began(encoding, said):
    encoding.begun(60, num_shards=80)
    (encoding.folder / "encoding.json").write_text('{"signature": "0"}')
    assert said() is None


def test_the_table_of_runs(encoding, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    MadeRun(tmp_path / "runs", "other").submitted("124", partition="a40")
    encoding.begun(330).finished(*(10 + 32 * number for number in range(10)))
    assert status.main(["--root", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert "10 of 80 shards, 60 frames/s, 37.3 min left" in shown
    assert shown.count("training not started yet") == 1


def test_the_watch(encoding, tmp_path, capsys, monkeypatch):
    encoding.begun(330).finished(*(10 + 32 * number for number in range(10)))
    monkeypatch.setattr(time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert status.main(["new", "--watch", "--root", str(tmp_path / "runs")]) == 0
    assert "encoding     10 of 80 shards, 60 frames/s" in capsys.readouterr().out
