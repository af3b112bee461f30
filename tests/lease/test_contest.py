"""Many processes want one lease: one has it, at any time."""

import multiprocessing
import os
import time

import pytest

from vdt_hpc.lease import numbered
from vdt_hpc.lease.lease import Lease
from vdt_hpc.lease.owner import Owner

FORK = multiprocessing.get_context("fork")


def contend(folder, barrier, wins):
    lease = Lease(folder, Owner.this_process("a100"), 60)
    barrier.wait(30)
    for _ in range(20):
        if lease.try_acquire():
            wins.put(lease.number)
            break
        time.sleep(0.002)
    barrier.wait(30)  # the winner lives until all have tried
    os._exit(0)


def test_of_eight_that_find_a_dead_owner_one_wins(tmp_path):
    for round_number in range(1, 7):  # the dead owner of a round is the winner of the round before
        barrier, wins = FORK.Barrier(8), FORK.SimpleQueue()
        processes = [FORK.Process(target=contend, args=(tmp_path, barrier, wins)) for _ in range(8)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
        assert wins.get() == round_number
        assert wins.empty()
        assert [path.name for path in tmp_path.iterdir()] == [f"{round_number:06d}.json"]


def write_in_turn(folder, pen, done):
    """Take the lease, write with the one pen there is, give the lease back; again and again."""
    lease = Lease(folder, Owner.this_process("a100"), 60)
    numbers = []
    while len(numbers) < 12:
        if lease.try_acquire():
            lease.check()
            os.close(os.open(pen, os.O_CREAT | os.O_EXCL))  # fails when somebody else is writing
            numbers.append(lease.number)
            time.sleep(0.001)
            pen.unlink()
            lease.release()
    done.put(numbers)


def test_what_goes_from_hand_to_hand_is_never_in_two(tmp_path):
    done = FORK.SimpleQueue()
    arguments = (tmp_path / "lease", tmp_path / "pen", done)
    processes = [FORK.Process(target=write_in_turn, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    numbers = [number for _ in processes for number in done.get()]
    assert len(set(numbers)) == len(numbers) == 48


@pytest.mark.parametrize(("place", "step"), [(numbered, "create"), (os, "link")])
def test_a_contender_who_slept_while_the_number_came_and_went_backs_out(
    lease, other, tmp_path, monkeypatch, place, step
):
    first, second, slow = other(), other(), lease()
    assert first.ask("acquire")
    first.ask("release")
    do_step = getattr(place, step)

    def sleep_before(*arguments):
        assert first.ask("acquire")  # number 2
        first.ask("release")
        assert second.ask("acquire")  # number 3, and 2 is removed
        return do_step(*arguments)

    monkeypatch.setattr(place, step, sleep_before)
    assert not slow.try_acquire()
    assert second.ask("check") is None
    assert [path.name for path in (tmp_path / "lease").iterdir()] == ["000003.json"]
