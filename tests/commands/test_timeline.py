"""The lineage of a run as a timeline, in terminals of several widths."""

import pytest

from tests.commands.made_runs import CLUSTER, MadeRun
from vdt_hpc import status

HOUR_S = 3600


@pytest.fixture
def show(tmp_path, capsys, monkeypatch, stand_in):
    """Lines of the timeline that status shows of the run `moved`."""

    def run(columns=100):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert status.main(["moved", "--root", str(tmp_path / "runs")]) == 0
        lines = capsys.readouterr().out.splitlines()
        return lines[next(number for number, line in enumerate(lines) if line.startswith("  lineage")) :]

    return run


@pytest.fixture
def moved(tmp_path, stand_in):
    """A run that was trained on a100 twice, killed there, moved to a40, and waits."""
    run = MadeRun(tmp_path / "runs", "moved").started().submitted("1", seconds_ago=100 * HOUR_S)
    run.paths.jobs_of("train", CLUSTER).mkdir(parents=True)
    (run.paths.jobs_of("train", CLUSTER) / "1_submission.sh").write_text("#!/bin/bash\n#SBATCH --gres=gpu:a100:5\n")
    run.leg("1-0", 80 * HOUR_S, 60 * HOUR_S, "the time limit", (0, 400), lost=12)
    run.leg("1-1", 50 * HOUR_S, None, "killed without a word", (400, 900), lost=88)
    run.submitted("2", partition="a40", seconds_ago=45 * HOUR_S)
    run.leg("2-0", 40 * HOUR_S, 20 * HOUR_S, "preempted", (800, 1200), partition="a40", tasks=4)
    run.logged(1200, seconds_ago=20 * HOUR_S).log("2").note("2", "preempted")
    stand_in.squeue(("2", "a40", "PENDING", "BeginTime", "N/A", ""))
    return run


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_bars_stand_on_one_axis_of_time(moved, show, columns):
    lines = show(columns)
    head = next(line for line in lines if line.split()[:1] == ["job"])
    start = head.index("lasted") + len("lasted") + 2
    assert len(head) == columns
    found = [line[start:].ljust(columns - start) for line in lines if line[4:5] in ("1", "2") and line[:4] == "    "]
    room = columns - start
    first, killed, second, waiting = found
    assert abs(first.index("#") - 0.2 * room) <= 2
    assert abs(first.rindex("#") - 0.4 * room) <= 2
    assert set(first[: first.index("#")]) == {"."}, "it had waited since it was submitted"
    assert set(killed.strip()) == {"?", "."}, "nobody knows when it ended"
    assert abs(killed.index(".") - first.rindex("#")) <= 2, "requeued, it waits from the end of its first start"
    assert abs(killed.rindex("?") - 0.6 * room) <= 2
    assert abs(second.index(".") - 0.55 * room) <= 2
    assert abs(second.rindex("#") - 0.8 * room) <= 2
    assert set(waiting.strip()) == {"."}
    assert waiting[-1] == "."
    assert max(map(len, lines)) <= columns
    assert "    # trains   . waits in the queue, starts up   ? nobody knows until when" in lines


def test_totals_and_what_each_job_did(moved, show):
    lines = show(140)
    assert lines[0] == "  lineage      3 jobs, 2 restarts, 100 clips lost"
    assert lines[1] == "  spent        at most 150 GPU hours on a100, 80 task hours on a40"
    told = [line.strip() for line in lines if line.startswith("      ")]
    assert told == [
        "clips 0 -> 400, 12 lost: the time limit (gpu-a100)",
        "clips 400 -> 900, 88 lost: killed without a word (gpu-a100)",
        "clips 800 -> 1,200: preempted (gpu-a40)",
        "requeued (BeginTime)",
    ]


def test_a_narrow_terminal_has_the_bars_below_the_words(moved, show):
    lines = show(50)
    assert max(map(len, lines)) <= 50
    assert any(set(line.strip()) == {".", "#"} for line in lines)


def test_two_clusters_are_told_apart(moved, show):
    moved.leg("7-0", 10 * HOUR_S, 9 * HOUR_S, "SIGTERM", (1200, 1300), cluster="elsewhere")
    shown = "\n".join(show(140))
    assert "preempted (gpu-a40 of mission)" in shown
    assert "SIGTERM (gpu-a100 of elsewhere)" in shown


def test_a_job_that_trains_is_drawn_until_now(tmp_path, stand_in, show):
    MadeRun(tmp_path / "runs", "moved").started().submitted("1", seconds_ago=60).leg("1-0", 30).log("1").logged(8)
    stand_in.squeue(("1", "a100", "RUNNING", "None", "N/A", "gpu-a100"))
    lines = show(100)
    (bar,) = [line for line in lines if line.startswith("    1-0")]
    assert bar.endswith("#")
    assert len(bar) == 100
    assert "      clips 0 -> 8: running (gpu-a100)" in lines


def test_what_nothing_has_trained_is_one_line(tmp_path, stand_in, show):
    MadeRun(tmp_path / "runs", "moved").submitted("1", "encode").outcome("1", "complete", stage="encode")
    assert show()[:1] == ["  lineage      none has trained yet"]
