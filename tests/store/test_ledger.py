import json

import pytest

from vdt_hpc.errors import UserError
from vdt_hpc.store import ledger
from vdt_hpc.store.ledger import Ledger


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.jsonl"


def job(path, name, clips, logged=0, saved=None):
    reached = {"clips": clips, "saved": clips if saved is None else saved}
    return Ledger(path, name, "a100", 5, lambda: (reached["clips"], reached["saved"]), logged, path.parent), reached


def test_a_job_that_ends_well_says_why_and_how_far_it_came(path):
    told, reached = job(path, "12-0", 0)
    with told:
        assert ledger.read(path)[0].why is None
        reached |= {"clips": 240, "saved": 240}
        told.why = "SIGUSR2"
    (leg,) = ledger.read(path)
    assert (leg.job, leg.partition, leg.world_size, leg.first_clips) == ("12-0", "a100", 5, 0)
    assert (leg.why, leg.last_clips, leg.lost_clips) == ("SIGUSR2", 240, 0)
    assert leg.end >= leg.start


def test_the_end_of_a_killed_job_is_told_by_the_next(path):
    told, _ = job(path, "12-0", 0)
    told.__enter__()
    following, _ = job(path, "12-1", 160, logged=200)
    with following:
        following.why = "complete"
    killed, last = ledger.read(path)
    assert (killed.why, killed.end, killed.last_clips, killed.lost_clips) == (ledger.KILLED, None, 200, 40)
    assert (last.job, last.why, last.first_clips) == ("12-1", "complete", 160)


def test_an_error_is_told_with_what_it_cost(path):
    told, _ = job(path, "12-0", 80, saved=60)
    with pytest.raises(UserError), told:
        raise UserError("the disk is full")
    assert (ledger.read(path)[0].why, ledger.read(path)[0].lost_clips) == ("the disk is full", 20)
    crashing, _ = job(path, "13-0", 80)
    with pytest.raises(ZeroDivisionError), crashing:
        raise ZeroDivisionError("x")
    assert ledger.read(path)[1].why == "crashed: ZeroDivisionError('x')"


def test_a_job_whose_run_went_to_another_writes_nothing(path):
    told, _ = job(path, "12-0", 80)
    with pytest.raises(UserError), told:
        told.why = None
        raise UserError("another job has taken over")
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["start"]


def test_a_line_that_a_killed_process_left_unfinished_is_passed_over(path):
    told, _ = job(path, "12-0", 0)
    with told:
        told.why = "complete"
    path.write_text(path.read_text() + '{"event": "sta')
    following, _ = job(path, "12-1", 0)
    with following:
        following.why = "SIGTERM"
    assert [leg.why for leg in ledger.read(path)] == ["complete", "SIGTERM"]


def test_the_word_that_a_killed_jobs_script_has_left_is_its_end(path):
    told, _ = job(path, "12-0", 0)
    told.__enter__()  # and is killed
    (path.parent / "12-0_end.json").write_text(
        json.dumps({"why": "task 1 killed", "time": "2026-01-01T00:00:00+00:00"})
    )
    with job(path, "12-1", 120, logged=180)[0]:
        first, _ = ledger.read(path)
    assert (first.why, first.end, first.lost_clips) == ("task 1 killed", "2026-01-01T00:00:00+00:00", 60)


def test_a_word_about_another_clusters_job_of_the_same_number_is_not_its_end(path, monkeypatch):
    def leave_word(cluster, why):
        (path.parent / cluster).mkdir()
        note = {"why": why, "time": "2026-01-01T00:00:00+00:00", "outside": True}
        (path.parent / cluster / "12-0_end.json").write_text(json.dumps(note))

    for cluster in ("here", "there"):
        monkeypatch.setenv("SLURM_CLUSTER_NAME", cluster)
        job(path, "12-0", 0)[0].__enter__()  # and is killed
    assert ledger.read(path)[0].why == ledger.KILLED
    leave_word("there", "preempted")
    assert [leg.why for leg in ledger.read(path, path.parent)] == [ledger.KILLED, "preempted"]
    leave_word("here", "its node failed")
    assert [leg.why for leg in ledger.read(path, path.parent)][1] == "preempted"
