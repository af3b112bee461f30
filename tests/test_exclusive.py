"""Files that several finish at once: the first is kept, and no rubbish stays."""

import multiprocessing
import subprocess
import sys

import pytest

from vdt_hpc import exclusive, files

KILLED = """
import pathlib, sys, time
from vdt_hpc import exclusive
with exclusive.finish(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("x", flush=True)
    time.sleep(60)
"""


def finish_with_others(path, word, barrier, seen):
    barrier.wait()
    exclusive.write_json(path, {"by": word})
    seen.put(files.read_json(path)["by"])


def test_of_many_who_finish_a_file_at_once_one_is_kept(tmp_path):
    context = multiprocessing.get_context("fork")
    path, barrier, seen = tmp_path / "deep" / "x.json", context.Barrier(6), context.SimpleQueue()
    writers = [context.Process(target=finish_with_others, args=(path, word, barrier, seen)) for word in "abcdef"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    assert {seen.get() for _ in writers} == {files.read_json(path)["by"]}
    assert list(path.parent.iterdir()) == [path]


def test_what_is_there_stays_and_what_killed_writers_left_goes(tmp_path):
    path = tmp_path / "x.json"
    writer = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
    writer.stdout.read(1)
    writer.kill()
    writer.wait()
    assert len(list(tmp_path.iterdir())) == 1
    exclusive.write_json(path, {"first": 1})
    exclusive.write_json(path, {"second": 2})
    assert files.read_json(path) == {"first": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), exclusive.finish(tmp_path / "x.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
