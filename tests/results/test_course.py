"""The course of a run against ledgers that are counted by hand."""

import json
from datetime import datetime, timedelta, timezone

import pytest

from results import course, course_figure, shown
from vdt_hpc.errors import UserError
from vdt_hpc.store.asked import NOTHING, Asked
from vdt_hpc.store.ledger import KILLED, Leg

ZERO = datetime(2026, 1, 5, 8, tzinfo=timezone.utc)
GPUS, CPUS = Asked(has_gpus=True, cpus_per_task=8), Asked(has_gpus=False, cpus_per_task=8)


def at(hours):
    return ZERO + timedelta(hours=hours)


def leg(first, last, start, end, why, lost=0, partition="a100", cluster="", world_size=5):
    return Leg(
        f"{first}-0", partition, cluster, "node", world_size, at(start).isoformat(), first,
        None if end is None else at(end).isoformat(), why, last, lost,
    )  # fmt: skip


def test_hours_clips_and_losses_of_each_partition():
    legs = [
        leg(0, 1000, 0, 2, "the time limit"),
        leg(1000, 1600, 5, 8, "crashed: RuntimeError()", lost=100),
        leg(1500, 1900, 9, 11, "complete", partition="a40", world_size=4),
    ]
    first, second = course.spent(course.parts(legs, [GPUS] * 3, []))
    assert (first.lane, first.unit, first.num_jobs, first.clips, first.lost_clips) == ("a100", "GPU", 2, 1600, 100)
    assert first.least_hours == first.most_hours == 5 * (2 + 3)
    assert first.clips_per_hour == (64, 64)
    assert (second.least_hours, second.clips_per_hour) == (8, (50, 50))


def test_a_job_without_an_end_is_bounded_by_its_last_line_and_the_next_start():
    legs = [leg(0, 900, 0, None, KILLED, lost=100), leg(800, 1000, 6, 7, "complete")]
    log = [(at(-1), 5), (at(1), 400), (at(2), 800), (at(6.5), 900)]
    killed, last = course.parts(legs, [GPUS] * 2, log)
    assert (killed.end, killed.at_least, killed.at_most, killed.how) == (None, at(2), at(6), course.LOST)
    assert killed.hours() == (10, 30) and last.hours() == (5, 5)
    (row,) = course.spent([killed, last])
    assert (row.least_hours, row.most_hours, row.clips) == (15, 35, 1100)
    cells = shown.course([killed, last])["rows"][0]
    assert cells == ["a100", "2", "15 to 35 GPU h", "1,100", "31.4 to 73.3 per GPU h", "100"]


def test_of_the_last_job_only_a_lower_bound_is_known():
    (part,) = course.parts([leg(0, None, 0, None, None)], [GPUS], [(at(1), 300), (at(3), 700)])
    assert (part.how, part.at_most, part.last_clips, part.hours()) == (course.OPEN, None, 700, (15, None))
    told = shown.course([part])
    assert told["rows"][0] == ["a100", "1", "at least 15 GPU h", "700", "at most 46.7 per GPU h", "0"]
    assert any("no end yet" in note for note in told["notes"])


def test_a_killed_job_that_left_no_line_has_an_upper_bound_alone():
    legs = [leg(0, 900, 0, None, KILLED, lost=900), leg(0, 1000, 6, 7, "complete", partition="a40")]
    cells = shown.course(course.parts(legs, [GPUS] * 2, []))["rows"][0]
    assert cells == ["a100", "1", "0 to 30 GPU h", "900", "at least 30 per GPU h", "900"]


def test_without_any_line_nothing_is_guessed():
    (part,) = course.parts([leg(0, None, 0, None, None)], [GPUS], [])
    assert part.hours() == (0, None) and part.last_clips == 0
    assert shown.course([part])["rows"][0][2:5] == ["at least 0 GPU h", "0", "–"]


@pytest.mark.parametrize(
    ("asked", "unit", "hours"), [(GPUS, "GPU", 10), (CPUS, "CPU", 80), (NOTHING, "task", 10)], ids=lambda one: str(one)
)
def test_the_unit_is_what_a_task_had(asked, unit, hours):
    (part,) = course.parts([leg(0, 10, 0, 2, "complete")], [asked], [])
    assert (part.unit, part.hours()) == (unit, (hours, hours))


@pytest.mark.parametrize(
    ("why", "lost", "end", "how"),
    [
        ("complete", 0, 1, course.COMPLETE),
        ("SIGUSR1", 0, 1, course.STOPPED),
        ("the time limit", 0, 1, course.STOPPED),
        ("the time limit", 50, 1, course.LOST),
        ("preempted", 0, None, course.LOST),
        ("cancelled", 0, 1, course.STOPPED),
        ("its node failed", 0, 1, course.LOST),
        (f"{KILLED}: its node failed", 0, None, course.LOST),
        ("task 3 was killed by SIGKILL", 10, 1, course.LOST),
        ("crashed: ValueError()", 10, 1, course.CRASHED),
        ("the disk is full", 0, 1, course.CRASHED),
    ],
)
def test_how_a_job_ended(why, lost, end, how):
    (part,) = course.parts([leg(0, 100, 0, end, why, lost)], [GPUS], [])
    assert part.how == how


def test_clusters_are_named_where_there_are_several():
    legs = [leg(0, 1, 0, 1, "SIGTERM", cluster="one"), leg(1, 2, 2, 3, "complete", cluster="two")]
    assert [part.lane for part in course.parts(legs, [GPUS] * 2, [])] == ["one/a100", "two/a100"]


def test_a_run_without_a_lineage_has_no_course_and_a_damaged_one_is_one_line(made_up):
    assert course.load(made_up.paths) == []
    made_up.write_ledger()
    text = made_up.paths.ledger.read_text()
    for right, wrong, told in (
        ("2026-01-05T11", "yesterday", "time 'yesterday:00:00"),
        ('"clips": 1300', '"clips": null', "clips None"),
        ('"why"', '"what"', "no why"),
    ):
        made_up.paths.ledger.write_text(text.replace(right, wrong))
        with pytest.raises(UserError, match=rf"jobs.jsonl is damaged: a line has {told}.*; mend it by hand"):
            course.load(made_up.paths)


def test_it_is_read_from_the_run(made_up):
    made_up.write_ledger()
    folder = made_up.paths.jobs_of("train", "")
    folder.mkdir(parents=True)
    (folder / "7_submission.sh").write_text("#!/bin/bash\n#SBATCH --cpus-per-task=8\n#SBATCH --gpus-per-node=5\n")
    line = {"kind": "train", "clips_seen": 1200, "loss": 1.0, "time": "2026-01-05T09:30:00+00:00"}
    made_up.paths.progress_log.write_text(json.dumps(line) + "\n" + '{"kind": "train", "clips_seen": 1, "loss": 1}\n')
    killed, last = course.load(made_up.paths)
    assert (killed.unit, killed.hours(), killed.lost_clips) == ("GPU", (7.5, 15), 100)
    assert (last.unit, last.hours(), last.how) == ("task", (8, 8), course.COMPLETE)


def test_the_figure_has_a_lane_for_each_partition_and_hatches_what_nobody_knows():
    legs = [
        leg(0, 900, 0, None, KILLED, lost=100),
        leg(800, 1000, 6, 7, "the time limit", partition="a40"),
        leg(1000, 1200, 9, 9.01, "complete"),
    ]
    figure = course_figure.timeline(course.parts(legs, [GPUS] * 3, [(at(2), 800)]))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a100", "a40"]
    bars = [(round(24 * bar.get_width(), 3), bar.get_hatch() is not None) for bar in axes.patches]
    assert bars == [(2, False), (4, True), (1, False), (0.01, False)]
    assert {text.get_text() for text in axes.texts} == {"900", "1,000", "1,200"}
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["complete", "stopped, saved", "killed", "ended in between"]
