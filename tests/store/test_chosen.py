"""Choices of a checkpoint: of all who write one down, the first counts."""

import multiprocessing

import pytest

from vdt_hpc.errors import UserError
from vdt_hpc.store.chosen import Choice, Choices


def add(folder, name):
    return Choices(folder, "abc").add(1, Choice(name, "launch"))


def test_of_many_processes_one_writes_the_choice_down(tmp_path):
    names = [f"clips-{number:09d}" for number in range(8)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        won = pool.starmap(add, [(tmp_path, name) for name in names], chunksize=1)
    assert sum(won) == 1
    assert Choices(tmp_path, "abc").read() == {1: Choice(names[won.index(True)], "launch")}
    assert [path.name for path in tmp_path.iterdir()] == ["abc-000001.json"]


def test_choices_are_told_apart_by_settings_and_come_in_order(tmp_path):
    choices = Choices(tmp_path, "abc")
    assert choices.read() == {}
    for number in (2, 1, 1_000_000):
        assert choices.add(number, Choice("clips-000000006", str(number)))
    assert list(choices.read()) == [1, 2, 1_000_000]
    assert Choices(tmp_path, "ab").read() == {}


def test_a_damaged_choice_is_named(tmp_path):
    add(tmp_path, "clips-000000006")
    (tmp_path / "abc-000001.json").write_text("{}")
    with pytest.raises(UserError, match="is damaged; remove it and run the stage sample again"):
        Choices(tmp_path, "abc").read()
