import json
import signal
import threading
import time

import pytest

from jobs import progress_log, schedule
from jobs.ahead import MAX_AHEAD, Ahead
from vdt_hpc.experiment.config import OptimConfig
from vdt_hpc.lease.lease import LeaseLost
from vdt_hpc.stopping import StopFlag

OPTIM = OptimConfig(lr=2.0, warmup_clips=100, final_lr_fraction=0.1)


def rate(clips_seen, optim=OPTIM, **options):
    return schedule.learning_rate(optim, 1100, clips_seen, **options)


def test_the_rate_warms_up_then_follows_a_cosine():
    assert [rate(clips) for clips in (10, 50, 100)] == pytest.approx([0.2, 1.0, 2.0])
    assert rate(600) == pytest.approx(2.0 * 0.55)
    assert rate(1100) == pytest.approx(0.2)
    assert rate(5000) == pytest.approx(0.2)
    assert rate(600, scale=0.5) == pytest.approx(0.55)


def test_a_constant_rate_after_the_warm_up():
    optim = OptimConfig(lr=2.0, warmup_clips=100, schedule="constant")
    assert [rate(clips, optim) for clips in (50, 100, 1100)] == pytest.approx([1.0, 2.0, 2.0])
    assert rate(8, OptimConfig(lr=2.0, warmup_clips=0, schedule="constant")) == 2.0


def test_multiples_are_crossed_once_whatever_the_batch():
    for step in (1, 3, 7, 10, 25):
        crossed = [seen for seen in range(step, 101, step) if schedule.crosses(10, seen - step, seen)]
        assert len(crossed) == min(100 // step * step // 10, 100 // step)
    assert not schedule.crosses(10, 10, 19)


def held():
    """The lease is this process's."""


def log_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_log_is_single_valued_after_a_rollback(tmp_path, capsys):
    path = tmp_path / "progress.jsonl"
    with progress_log.ProgressLog(path, tmp_path / "events", 0, held) as log:
        log.write("start", 0, partition="here")
        for clips in (10, 20, 30):
            log.write("train", clips, loss=1.0 / clips, loss_by_task={"prediction": 0.5}, lr=float("nan"))
    with path.open("a") as file:
        file.write('{"kind": "train", "clips_s')
    with progress_log.ProgressLog(path, tmp_path / "events", 20, held) as log:
        log.write("start", 20, partition="there")
        log.write("train", 30, loss=0.5)
    written = log_lines(path)
    assert [(line["kind"], line["clips_seen"]) for line in written] == [
        ("start", 0), ("train", 10), ("train", 20), ("start", 20), ("train", 30),
    ]  # fmt: skip
    assert written[1]["lr"] is None
    assert written[1]["loss_by_task"] == {"prediction": 0.5}
    said = capsys.readouterr().out
    assert "1 unreadable line" in said
    assert "1 line(s) beyond clip 20" in said


def test_a_writer_that_lost_its_run_while_it_began_leaves_the_log_of_its_successor(tmp_path):
    path, successor = tmp_path / "progress.jsonl", None
    with progress_log.ProgressLog(path, tmp_path / "events", 0, held) as log:
        log.write("start", 0)

    def taken_over_meanwhile():
        nonlocal successor
        successor = progress_log.ProgressLog(path, tmp_path / "events", 0, held)
        successor.write("start", 0, partition="successor")
        raise LeaseLost

    with pytest.raises(LeaseLost):
        progress_log.ProgressLog(path, tmp_path / "events", 0, taken_over_meanwhile)
    with successor:
        successor.write("end", 12)
    assert [line["kind"] for line in log_lines(path)] == ["start", "start", "end"]
    assert not list(tmp_path.glob(".*"))


def test_a_writer_that_wakes_up_later_appends_to_a_file_without_a_name(tmp_path):
    path = tmp_path / "progress.jsonl"
    earlier = progress_log.ProgressLog(path, tmp_path / "events", 0, held)
    with earlier, progress_log.ProgressLog(path, tmp_path / "events", 0, held) as log:
        earlier.write("train", 6)
        log.write("start", 0)
    assert [line["kind"] for line in log_lines(path)] == ["start"]


def test_tensorboard_hides_what_was_taken_back(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for resumed_at, losses in ((0, {10: 1.0, 20: 2.0, 30: 3.0}), (10, {20: 4.0})):
        with progress_log.ProgressLog(tmp_path / "progress.jsonl", tmp_path / "events", resumed_at, held) as log:
            for clips, loss in losses.items():
                log.write("train", clips, loss=loss, loss_by_task={"prediction": loss})
        time.sleep(1.1)  # event files sort by the second they were made in
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(10, 1.0), (20, 4.0)]
    assert "train/loss_by_task/prediction" in events.Tags()["scalars"]


def test_items_come_in_order_from_other_threads():
    def function(number):
        time.sleep(0.02 if number % 4 == 0 else 0)  # later ones are ready first
        return number, threading.current_thread().name

    with Ahead(function, range(20)) as ahead:
        items = [ahead.next() for _ in range(20)]
        with pytest.raises(AssertionError):
            ahead.next()
    assert [number for number, _ in items] == list(range(20))
    assert all(name.startswith("examples") for _, name in items)
    assert 0.02 < ahead.waited_s < 5


def test_no_more_is_prepared_than_said_and_leaving_early_ends_the_threads():
    begun = []
    with Ahead(begun.append, range(10**9)) as ahead:
        ahead.next()
    assert not any(thread.name.startswith("examples") for thread in threading.enumerate())
    assert sorted(begun) == list(range(len(begun)))
    assert len(begun) <= MAX_AHEAD + 1


def test_an_error_of_the_function_is_raised_in_its_turn():
    def function(number):
        if number == 1:
            raise RuntimeError("broken")
        return number

    with Ahead(function, range(9)) as ahead:
        assert ahead.next() == 0
        with pytest.raises(RuntimeError, match="broken"):
            ahead.next()


def test_signals_reach_the_main_thread_whichever_thread_the_system_chooses():
    flag = StopFlag().install()

    def function(number):
        if number == 0:
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        return number

    with Ahead(function, range(9)) as ahead:
        assert [ahead.next() for _ in range(9)] == list(range(9))
    assert flag.reason == "SIGTERM"
