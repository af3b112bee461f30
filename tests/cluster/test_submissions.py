"""The list of what was sent: what was changed later, numbers that come again, damage."""

import pytest

from tests.jobs import made_up
from vdt_hpc import files
from vdt_hpc.cluster import dependency, submissions
from vdt_hpc.cluster.submission import _redirected
from vdt_hpc.cluster.submissions import Submission
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import paths_for

DEFAULTS = {
    "stage": "train",
    "partition": "a40",
    "cluster": "here",
    "command": "c",
    "time": "2026-11-25T00:00:00+00:00",
}


def job(number, **fields):
    return Submission(job=str(number), **DEFAULTS | fields)


@pytest.fixture
def paths(tmp_path):
    return paths_for(made_up.config(), made_up.partition(tmp_path))


def test_what_was_changed_later_counts(paths):
    submissions.note(paths, job(1))
    submissions.note(paths, job(2, stage="sample", dependency="afterok:1"))
    submissions.note(paths, job(3, cluster="elsewhere"))
    submissions.note_dependency(paths, "2", "here", "afterok:1?afterok:4")
    submissions.note_dependency(paths, "2", "elsewhere", "afterok:9")
    first, second = submissions.read(paths, "here")
    assert (first.job, second.dependency) == ("1", "afterok:1?afterok:4")
    assert submissions.read(paths, "here", "sample") == [second]
    assert [each.job for each in submissions.read(paths, "elsewhere")] == ["3"]


def test_an_end_is_of_the_job_that_had_the_number_then(paths):
    submissions.note(paths, job(1))
    submissions.note(paths, job(2, array=2))
    submissions.note_end(paths, ["1", "2_0", "2_1"], "here", "moved")
    assert submissions.ends(paths, "here") == {"1": "moved", "2_0": "moved", "2_1": "moved"}
    assert submissions.ends(paths, "elsewhere") == {}
    submissions.note(paths, job(1))
    assert submissions.ends(paths, "here").keys() == {"2_0", "2_1"}
    submissions.note(paths, job(2, array=2))
    assert submissions.ends(paths, "here") == {}


def test_a_line_that_lacks_something_is_named(paths):
    files.append_json_line(paths.submissions, {"event": "submitted", "cluster": "here", "job": "1"})
    with pytest.raises(UserError, match=r"submissions.jsonl is damaged: a line has no command, partition, stage, time"):
        submissions.read(paths, "here")
    assert submissions.read(paths, "elsewhere") == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"time": "soon"}, r"a line has time 'soon': Invalid isoformat"),
        ({"time": "2026-11-25T00:00:00"}, r"a line has time '2026-11-25T00:00:00': a time needs its zone"),
        ({"array": "several"}, r"a line has array 'several': .*integer"),
        ({"event": "ended", "jobs": 3, "why": "x"}, r"a line has jobs 3: .*tuple"),
    ],
)
def test_a_line_that_holds_something_else_is_named(paths, wrong, told):
    line = {"event": "submitted", "job": "1", **DEFAULTS, **wrong}
    files.append_json_line(paths.submissions, line)
    for read in (submissions.read, submissions.ends):
        with pytest.raises(UserError, match=rf"submissions.jsonl is damaged: {told}.*; mend it by hand"):
            read(paths, "here")


def test_a_job_replaces_what_went_on_in_the_place_of_what_it_names():
    sent = [job(1), job(2, continues="1"), job(3), job(4, continues="2"), job(5, replaces=("1",))]
    assert submissions.replaced_by(sent[-1], sent) == {"1", "2", "4"}
    assert submissions.replaced_by(sent[0], sent) == set()


@pytest.mark.parametrize(
    ("waits", "ended", "sent", "then"),
    [
        ("afterok:1", "1", job(9), "afterok:1?afterok:9"),
        ("afterok:1?afterok:2", "2", job(9), "afterok:1?afterok:2?afterok:9"),
        ("afterok:1", "2", job(9), ""),
        ("", "1", job(9), ""),
        ("afterok:1:9", "1", job(7, is_share=True), "afterok:7:9"),
        ("afterok:1_0:1_2:9", "1_2", job(7, is_share=True), "afterok:1_0:7:9"),
        ("afterok:1_0:9", "1", job(7), "afterok:7"),
    ],
)
def test_what_waits_is_content_with_the_job_in_its_place(waits, ended, sent, then):
    assert _redirected(waits, ended, sent) == then


def test_dependencies_in_slurms_words():
    assert dependency.any_of([]) == dependency.all_of([]) == ""
    assert dependency.any_of(["1", "2"]) == "afterok:1?afterok:2"
    assert dependency.all_of(["1", "2_0"]) == "afterok:1:2_0"
    assert dependency.jobs_in("afterok:1?afterok:2") == ("1", "2")
    assert dependency.jobs_in("afterok:1:2_0") == ("1", "2_0")
    assert dependency.jobs_in("") == ()
