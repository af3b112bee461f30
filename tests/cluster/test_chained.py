"""What is in the queue already waits for the stage that is named before it."""

import pytest

from tests.cluster.conftest import CLUSTER
from vdt_hpc.cluster import submissions
from vdt_hpc.commandline import run_paths


def test_a_job_that_keeps_its_place_waits_for_the_new_one_before_it(queue):
    queue.launch("compare")
    shown = queue.launch("streets", "compare", "--dry-run")
    assert "job 101, compare on a100 (PENDING): stays, waits for streets, and nothing new would be sent" in shown
    assert queue.asked("scontrol update") == []
    said = queue.launch("streets", "compare")
    assert "compare of smoke is in the queue already: job 101, compare on a100 (PENDING), after job 102\n" in said
    assert queue.asked("scontrol update") == ["scontrol update JobId=101 Dependency=afterok:102"]
    assert queue.sent()["101"].dependency == "afterok:102"
    assert queue.jobs() == ["101", "102"]


def test_the_same_command_again_lets_the_chain_be(queue):
    words = ["streets", "encode", "compare"]
    queue.launch(*words)
    said = queue.launch(*words)
    assert said.count("is in the queue already") == 3
    queue.becomes(101, "")  # streets has ended well
    queue.becomes(102, "RUNNING")
    said = queue.launch(*words)
    assert "submitted streets of smoke to a100 as job 104" in said
    assert said.count("is in the queue already") == 2
    assert queue.asked("scontrol update") == []
    queue.launch("streets", "compare")  # it waits for streets through encode
    assert queue.asked("scontrol update") == []


def test_a_job_that_runs_cannot_wait_for_a_new_one(queue):
    queue.launch("compare")
    queue.becomes(101, "RUNNING")
    refusal = (
        "error: job 101, compare on a100 (RUNNING) is in the queue and does not wait for streets, which you name "
        "before it; add --replace to end it and send it anew after streets, or leave streets out\n"
    )
    assert queue.refused("streets", "compare").endswith(refusal)
    assert queue.refused("streets", "compare", "--dry-run").endswith(refusal)
    assert queue.jobs() == ["101"]
    said = queue.launch("streets", "compare", "--replace")
    assert "submitted compare of smoke to a100 as job 103, after job 102" in said


def test_a_job_that_waits_for_something_else_is_not_torn_from_it(queue):
    queue.launch("streets", "index", "compare")
    assert "does not wait for encode" in queue.refused("streets", "encode", "compare")
    assert queue.jobs() == ["101", "102", "103"]
    queue.becomes(102, "")
    queue.launch("streets", "encode", "compare")
    assert queue.sent()["103"].dependency == "afterok:104"


def test_a_stage_may_come_between_two_that_are_in_the_queue(queue):
    queue.launch("streets", "compare")
    queue.becomes(101, "RUNNING")
    said = queue.launch("streets", "encode", "compare")
    assert "submitted encode of smoke to a100 as job 103, after job 101" in said
    assert queue.sent()["102"].dependency == "afterok:103"


def test_a_job_that_replaces_another_has_waited_for_what_that_one_waited_for(queue):
    queue.launch("streets", "compare")
    queue.becomes(101, "")
    queue.becomes(102, "RUNNING")
    queue.launch("compare", partition="a40")
    assert queue.sent()["103"].replaces == ("102",)
    queue.becomes(102, "")
    queue.becomes(103, "RUNNING")
    assert "is in the queue already: job 103" in queue.launch("streets", "compare", partition="a40")


def test_a_job_that_starts_in_the_meantime_is_told(queue):
    queue.launch("compare")
    queue.refuses_updates()
    said = queue.refused("streets", "compare")
    assert "job 101, compare on a100 (PENDING) cannot be made to wait for streets" in said
    assert "(Job is no longer pending execution); run the same command with --replace" in said
    assert queue.sent()["101"].dependency == ""


@pytest.mark.parametrize("also", [[], ["compare"]])
def test_what_waits_for_a_job_also_waits_for_its_new_rival(queue, also):
    queue.launch("streets", "compare")
    queue.launch("streets", *also, partition="a100,a40")
    waiting = submissions.read(run_paths(queue.root / "smoke"), CLUSTER, "compare")
    assert {each.dependency for each in waiting} == {"afterok:101?afterok:103"}
    assert len(waiting) == 1 + len(also)
