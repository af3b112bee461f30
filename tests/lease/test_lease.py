"""Taking, keeping, losing and giving back, with owners that live, stop and die."""

import errno
import json
import os
import signal
import subprocess
import threading
import time

import pytest

from vdt_hpc.errors import UserError
from vdt_hpc.lease.lease import Lease, LeaseLost, read_holder
from vdt_hpc.lease.owner import UNKNOWN

ELSEWHERE = {"boot_id": "another boot", "host": "elsewhere"}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_first_to_come_has_it(lease, other, tmp_path):
    owner, observer = other(), lease()
    assert owner.ask("acquire")
    assert not observer.try_acquire()
    assert observer.holder == read_holder(tmp_path / "lease") == owner.ask("owner")
    assert observer.number == 0
    assert not observer.lost
    with pytest.raises(LeaseLost, match=r"now belongs to process \d+ on this machine"):
        observer.check()


def test_who_has_it_may_ask_again(lease, tmp_path):
    mine = lease()
    assert mine.try_acquire()
    assert mine.try_acquire()
    mine.check()
    assert mine.holder is not None
    assert mine.number == 1
    assert names(tmp_path / "lease") == ["000001.json"]


def test_what_is_given_back_is_free_at_once_though_its_owner_lives(lease, other, tmp_path):
    owner, successor = other(), lease()
    assert owner.ask("acquire")
    owner.ask("release")
    assert read_holder(tmp_path / "lease") is None
    assert successor.try_acquire()
    assert not owner.ask("lost")
    assert "now belongs to" in owner.ask("check")


def test_numbers_grow_and_old_files_go(lease, tmp_path):
    folder = tmp_path / "lease"
    for number in range(1, 5):
        mine = lease()
        assert mine.try_acquire()
        assert mine.number == number
        mine.release()
        mine.release()
        (folder / f".{number:06d}.json.gpu1-7.tmp").touch()  # of a process killed in the middle of a write
    assert lease().try_acquire()
    assert names(folder) == ["000005.json"]


def test_giving_back_stops_the_heartbeat(lease, wait_for):
    before = threading.active_count()
    mine = lease()
    assert mine.try_acquire()
    assert threading.active_count() == before + 1
    mine.release()
    wait_for(lambda: threading.active_count() == before)


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_owner_on_this_machine_is_seen_at_once(lease, other, reaped):
    owner, successor = other(), lease()
    assert owner.ask("acquire")
    owner.signal(signal.SIGKILL)
    if reaped:
        owner.process.join()
    else:  # a zombie, as the child of a launcher that looks elsewhere
        os.waitid(os.P_PID, owner.process.pid, os.WEXITED | os.WNOWAIT)
    assert successor.try_acquire()
    assert successor.number == 2


def test_a_stopped_owner_loses_it_after_the_timeout_and_notices_when_it_wakes(lease, other, wait_for, tmp_path):
    owner, successor = other(timeout_s=1), lease(timeout_s=1)
    assert owner.ask("acquire")
    assert not successor.try_acquire()
    owner.signal(signal.SIGSTOP)
    assert wait_for(successor.try_acquire) > 0.4
    owner.signal(signal.SIGCONT)
    assert owner.ask("lost")
    assert f"{tmp_path} now belongs to process {os.getpid()} on this machine" in owner.ask("check")
    owner.ask("release")
    assert names(tmp_path / "lease") == ["000002.json"]
    successor.check()
    assert not owner.ask("acquire")


def test_an_owner_stopped_while_nobody_wanted_it_goes_on(other):
    owner = other(timeout_s=0.5)
    assert owner.ask("acquire")
    owner.signal(signal.SIGSTOP)
    time.sleep(1)
    owner.signal(signal.SIGCONT)
    assert not owner.ask("lost")
    assert owner.ask("check") is None


def test_a_training_loop_that_wakes_before_its_heartbeat_looks_itself(lease, monkeypatch, tmp_path, wait_for):
    monkeypatch.setattr(Lease, "_keep", lambda self, stop: None)
    mine = lease(timeout_s=0.4)
    assert mine.try_acquire()
    (tmp_path / "lease" / "000001.json").unlink()
    wait_for(lambda: mine.lost)


def test_an_owner_elsewhere_keeps_it_while_it_lives_and_loses_it_by_silence_alone(lease, other, wait_for):
    owner, observer = other(timeout_s=1, **ELSEWHERE), lease(timeout_s=1)
    assert owner.ask("acquire")
    until = time.monotonic() + 3.5
    while time.monotonic() < until:
        assert not observer.try_acquire()
        time.sleep(0.05)
    assert not owner.ask("lost")
    owner.kill()
    assert wait_for(observer.try_acquire) > 0.4
    assert observer.number == 2


def test_a_lost_lease_can_be_won_again(lease, other, tmp_path):
    mine, rival = lease(timeout_s=0.4), other()
    assert mine.try_acquire()
    (tmp_path / "lease" / "000001.json").unlink()
    with pytest.raises(LeaseLost, match="its file was removed"):
        mine.check()
    assert mine.lost
    assert rival.ask("acquire")
    rival.ask("release")
    assert mine.try_acquire()
    assert not mine.lost
    mine.check()


def test_a_folder_removed_by_hand_and_begun_anew_is_not_taken_for_ones_own(lease, other, tmp_path):
    mine, rival = lease(), other()
    assert mine.try_acquire()
    (tmp_path / "lease" / "000001.json").unlink()
    assert rival.ask("acquire")
    assert rival.ask("number") == mine.number
    with pytest.raises(LeaseLost, match="now belongs to"):
        mine.check()
    mine.release()
    assert rival.ask("check") is None


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff", "{}", '{"pid": "7"}'])
def test_a_damaged_file_is_an_unknown_owner_whose_heartbeat_counts(lease, wait_for, tmp_path, text):
    path = tmp_path / "lease" / "000007.json"
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    successor = lease(timeout_s=0.3)
    assert not successor.try_acquire()
    assert successor.holder == UNKNOWN
    assert "damaged" in successor.holder.describe()
    os.utime(path, (1, 1))
    assert not successor.try_acquire()
    assert successor.silent_s == 0
    wait_for(successor.try_acquire)
    assert successor.number == 8


def test_refused_renewals_end_it_before_others_may_take_it(lease, wait_for, monkeypatch):
    mine = lease(timeout_s=1)
    assert mine.try_acquire()

    def refuse(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "utime", refuse)
    mine.check()  # one failure is no loss
    wait_for(lambda: mine.lost)
    with pytest.raises(LeaseLost, match=r"could not be renewed for \d+ s .*Input/output error"):
        mine.check()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "lost"), FileExistsError(errno.EEXIST, "asked twice")])
def test_a_link_whose_answer_was_lost_counts(lease, monkeypatch, error):
    link = os.link

    def link_without_answer(source, target):
        link(source, target)
        raise error

    monkeypatch.setattr(os, "link", link_without_answer)
    mine = lease()
    assert mine.try_acquire()
    mine.check()


def test_without_hard_links_there_is_no_lease(lease, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UserError, match="no hard links"):
        lease().try_acquire()


def test_a_folder_that_cannot_be_made_is_one_line(lease, tmp_path):
    (tmp_path / "lease").write_text("not a folder")
    with pytest.raises(UserError, match=r"^cannot use .*Not a directory; choose a root.*$"):
        lease().try_acquire()


def test_a_folder_of_somebody_else_is_one_line(lease, tmp_path):
    mine, user = lease(), os.geteuid()
    (tmp_path / "lease").mkdir(mode=0o500)
    if user == 0:
        os.seteuid(65534)  # root may write everywhere, nobody may not
    try:
        with pytest.raises(UserError, match=r"^cannot use .*Permission denied; choose a root.*$"):
            mine.try_acquire()
    finally:
        os.seteuid(user)


def test_a_full_disk_costs_nobody_their_lease(lease, tmp_path):
    (tmp_path / "lease").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path / "lease"]).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        mine = lease(timeout_s=0.5)
        assert mine.try_acquire()
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "lease" / "ballast").write_bytes(bytes(1 << 20))
        time.sleep(1)
        assert not mine.lost
        mine.check()
        mine.release()
        assert names(tmp_path / "lease") == ["000001.json", "ballast"]
        (tmp_path / "lease" / "000001.json").write_text(json.dumps({"released": True}))
        with pytest.raises(UserError, match="the disk is full"):
            lease().try_acquire()
    finally:
        subprocess.run(["umount", tmp_path / "lease"], check=True)


def test_no_folder_no_holder(tmp_path):
    assert read_holder(tmp_path / "nothing here") is None
