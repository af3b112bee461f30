"""`--cancel` where something is missing, and Ctrl-C in the launcher."""

import pytest


def test_a_running_job_whose_file_is_gone_is_cancelled_too(queue):
    queue.launch("streets")
    (pickled,) = (queue.root / "smoke" / "jobs").rglob("101_submitted.pkl")
    pickled.unlink()
    queue.becomes(101, "RUNNING")
    queue.stops_when_asked()
    said = queue.launch("--cancel", "smoke", run=None)
    assert f"job 101: {pickled} is gone, so it gets 120 s to save\n" in said
    assert said.endswith("smoke has no job in the queue any more\n")


@pytest.mark.parametrize("words", [["streets", "--run", "smoke"], ["--cancel", "smoke"]])
def test_ctrl_c_is_one_line(queue, command_line, words):
    queue.launch("streets")
    queue.interrupts()
    where = [] if "--cancel" in words else ["--partition", queue.folder / "a100.yaml"]
    process = command_line.start("launch", *words, *where)  # both write under the same root
    _, errors = process.communicate(timeout=60)
    assert errors.splitlines()[-1] == "stopped; what was told until now is done; the same command goes on"
    assert "Traceback" not in errors
    assert process.returncode == 3
