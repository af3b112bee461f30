"""A Slurm that gives no answer is not one that has nothing in its queue."""

import json

import pytest

from tests.cluster.conftest import CLUSTER
from vdt_hpc import launch
from vdt_hpc.cluster import after, ending, submission
from vdt_hpc.cluster.submissions import Submission
from vdt_hpc.commandline import run_paths

SILENCE = "gives no answer here (Unable to contact slurm controller); try again"


def test_nothing_is_sent_while_nobody_knows_what_is_in_the_queue(queue):
    queue.launch("streets")
    queue.is_silent("squeue")
    assert f"error: squeue {SILENCE}" in queue.refused("streets")
    assert f"error: squeue {SILENCE}" in queue.refused("streets", partition="a40")
    queue.is_silent("squeue", num_calls=0)
    assert "is in the queue already: job 101" in queue.launch("streets")
    assert queue.jobs() == ["101"]


def test_auto_does_not_choose_anew_while_nobody_knows_where_the_jobs_are(queue, capsys):
    queue.launch("streets")
    queue.is_silent("squeue")
    words = ["streets", "--run", "smoke", "--partition", "auto", "--root", str(queue.root)]
    assert launch.main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: squeue {SILENCE}")


def test_nothing_is_sent_to_a_cluster_that_does_not_tell_its_name(queue):
    queue.is_silent("scontrol")
    said = queue.refused("streets")
    assert said.endswith("error: scontrol does not tell which cluster this is; try again\n")
    assert queue.jobs() == []
    assert not (queue.root / "smoke").exists()


def test_the_cluster_is_asked_for_its_name_once_by_whoever_sends(queue):
    queue.launch("streets", "encode", "train")
    assert len(queue.asked("scontrol show config")) == 2  # the preflight, and the sender
    assert {each.cluster for each in queue.sent().values()} == {CLUSTER}


def test_a_dry_run_without_slurm_says_what_it_does_not_know(queue, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    said = queue.launch("streets", "--dry-run")
    assert "#SBATCH --job-name=smoke-streets\n" in said
    assert "what of this run is in the queue is not known: scontrol gives no answer here (scontrol is not" in said


def test_a_dry_run_while_squeue_is_silent_says_what_it_does_not_know(queue):
    queue.launch("streets")
    queue.is_silent("squeue")
    said = queue.launch("streets", "--dry-run")
    assert f"what of this run is in the queue is not known: squeue {SILENCE}" in said


def test_jobs_that_may_run_are_not_told_to_have_ended(queue, monkeypatch):
    monkeypatch.setattr(ending, "LEAVING_S", 0.1)
    queue.launch("streets")
    queue.becomes(101, "RUNNING")
    queue.answers_once_more()
    said = queue.refused("--cancel", "smoke", run=None)
    assert "whether job 101 has ended is not known: squeue gives no answer" in said
    assert said.splitlines()[-1] == "error: job 101 may still be in the queue; see squeue"
    assert "no job in the queue any more" not in said


def test_a_jobs_script_asks_again_for_the_name_of_its_cluster(queue, monkeypatch):
    monkeypatch.setattr(ending.queue, "POLL_S", 0.01)
    queue.is_silent("scontrol", num_calls=2)
    assert ending.queue.own_cluster() == CLUSTER
    assert len(queue.asked("scontrol")) == 3


def test_a_silence_does_not_end_the_wait_for_a_jobs_end(queue, monkeypatch):
    monkeypatch.setattr(ending.queue, "POLL_S", 0.01)
    queue.is_silent("squeue", num_calls=3)
    said = []
    assert ending.see_off(["7"], 60.0, said.append) == []
    assert len(queue.asked("squeue")) == 4
    assert said == []


def test_what_waits_for_an_array_goes_on_waiting_for_it_while_its_tasks_are_not_known(queue, monkeypatch):
    monkeypatch.setattr(ending.queue, "PATIENCE_S", 0.0)
    queue.launch("streets", "encode", "train", "--array", "3")
    queue.is_silent("squeue")
    share = Submission("200", "encode", "a100", CLUSTER, "c", "t", is_share=True)
    paths = run_paths(queue.root / "smoke")
    (complaint,) = submission.let_wait_for(paths, "102_1", share)
    assert complaint.startswith(f"job 103 does not wait for job 200: squeue {SILENCE}")
    assert queue.sent()["103"].dependency == "afterok:102"
    assert queue.asked("scontrol update") == []
    queue.is_silent("squeue", num_calls=0)
    assert submission.let_wait_for(paths, "102_1", share) == []
    assert queue.sent()["103"].dependency == "afterok:102_0:102_2:200"


@pytest.mark.parametrize(("is_silent", "said"), [(True, "nothing was sent to the other partitions"), (False, "")])
def test_a_job_that_goes_on_sends_no_second_rival(queue, monkeypatch, capsys, is_silent, said):
    monkeypatch.setattr(ending.queue, "PATIENCE_S", 0.0)
    queue.launch("streets", partition="a100,a40")
    queue.becomes(101, "RUNNING")
    folder = run_paths(queue.root / "smoke").jobs_of("streets", CLUSTER)
    (folder / "101_0_outcome.json").write_text(json.dumps({"status": "stopped", "message": "saved", "outputs": {}}))
    for name, value in (("JOB_ID", "101"), ("NTASKS", "1"), ("CLUSTER_NAME", CLUSTER)):
        monkeypatch.setenv(f"SLURM_{name}", value)
    if is_silent:
        queue.is_silent("squeue")
    assert after.main([str(folder), "0"]) == after.DONE
    assert queue.asked("scontrol requeue 101")
    assert queue.jobs() == ["101", "102"]
    assert said in capsys.readouterr().err


def test_cancelling_asks_for_an_answer_first(queue):
    queue.launch("streets")
    queue.is_silent("squeue")
    assert f"error: squeue {SILENCE}" in queue.refused("--cancel", "smoke", run=None)
    queue.is_silent("scontrol")
    assert f"error: scontrol {SILENCE}" in queue.refused("--cancel", "smoke", run=None)
    assert queue.jobs() == ["101"]
