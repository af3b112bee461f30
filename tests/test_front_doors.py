"""Paths and names that the front doors are given and cannot use: one line each, and nothing is written."""

import os
import shutil
from pathlib import Path

import pytest

from vdt_hpc import export, launch, report, status, weights

HOME = Path(__file__).parents[1]
DRY = ("--partition", "local", "--dry-run")
LONG = "n" * 300
NO_UTF8 = "/nowhere/caf\udce9"


@pytest.fixture
def refused(capsys):
    """The one line of a command that a user's mistake ends."""

    def refused(module, *words):
        assert module.main([str(word) for word in words]) == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1, line
        return line

    return refused


@pytest.fixture
def closed(tmp_path):
    """A folder that this process may not look into, also where the tests run as root."""
    folder, user = tmp_path / "closed", os.geteuid()
    folder.mkdir(mode=0)
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)


@pytest.fixture
def root(tmp_path):
    """A root with one run."""
    root = tmp_path / "runs"
    (root / "good").mkdir(parents=True)
    shutil.copy(HOME / "configs/run/smoke.yaml", root / "good/config.yaml")
    return root


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (launch, (*DRY, "--root", "~nosuchuser/x")),
        (launch, (*DRY, "encode", "data.root=~nosuchuser/x")),
        (launch, ("--partition", "a100", "--dry-run", "data.root=~nosuchuser/x")),
        (launch, (*DRY, "--run", "~nosuchuser/x.yaml")),
        (launch, ("--cancel", "x", "--root", "~nosuchuser/x")),
        (status, ("--root", "~nosuchuser/x")),
        (status, ("~nosuchuser/x", "--root", "/nowhere")),
        (report, ("--root", "~nosuchuser/x")),
        (export, ("x", "--root", "~nosuchuser/x")),
        (weights, ("--from", "~nosuchuser/x")),
        (weights, ("--table", "~nosuchuser/x")),
    ],
)
def test_the_home_of_nobody(refused, module, words):
    line = refused(module, *words)
    assert line.startswith("error: ~nosuchuser/x") and "there is no home folder of that user" in line


def test_weights_to_begin_with_in_the_home_of_nobody(root, capsys):
    words = ["train", "--partition", "local", "--root", str(root), "--run", "smoke", "init.from=~nosuchuser/x"]
    assert (launch.main([*words, "--check"]), launch.main([*words, "--dry-run"])) == (2, 0)
    printed = capsys.readouterr().out
    for told in ("fault  initial weights  ", "begins with  "):
        assert f"{told}~nosuchuser/x: there is no home folder of that user here; write the path in full\n" in printed


def test_a_home_is_found(root, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(root))
    assert status.main(["--root", "~"]) == 0
    assert status.main(["~/good", "--root", "/nowhere"]) == 0


@pytest.mark.parametrize("partition", ["local", "a100"])
def test_a_root_that_is_no_utf8(refused, partition):
    line = refused(launch, "--partition", partition, "--dry-run", "--root", NO_UTF8)
    assert line == r"error: the path '/nowhere/caf\udce9' is no UTF-8; rename the folder, or choose another" + "\n"


@pytest.mark.parametrize("option", ["--run", "--partition"])
@pytest.mark.parametrize("name", [LONG, f"{LONG}.yaml"])
def test_a_name_that_is_too_long(refused, option, name):
    line = refused(launch, "--partition", "local", "--dry-run", option, name)
    assert LONG in line and line.endswith(": File name too long\n")


@pytest.mark.parametrize("option", ["--run", "--partition"])
def test_a_configuration_in_a_folder_that_is_closed(refused, closed, option):
    path = closed / "x.yaml"
    for given in (path, os.path.relpath(path)):
        line = refused(launch, "--partition", "local", "--dry-run", option, given)
        assert line.startswith("error: cannot read ") and line.endswith("/closed/x.yaml: Permission denied\n")


def test_frames_and_weights_in_a_folder_that_is_closed(refused, closed, capsys):
    said = f"cannot read {closed}/x: Permission denied\n"
    assert refused(launch, *DRY, "--root", "/nowhere", "encode", f"data.root={closed}/x") == f"error: {said}"
    assert launch.main([*DRY, "--root", "/nowhere", f"init.from={closed}/x"]) == 0
    assert f"begins with  {said}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a/b--c", "a/b.", "a/b.git", "a/" + "b" * 97])
def test_weights_of_a_name_that_the_hub_does_not_take(refused, name):
    assert refused(weights, name, "--list").startswith(f"error: unknown weights '{name}'; known: ")


def test_an_export_below_a_file(refused, root):
    to = root / "good/config.yaml/x/y"
    line = refused(export, "good", "--root", root, "--to", to)
    assert line == f"error: {to} cannot be made: {to.parents[1]} is a file, no folder; choose another --to\n"


def test_a_table_with_a_name_that_the_hub_does_not_take(refused, tmp_path):
    table = tmp_path / "table.yaml"
    files = "[{name: x, urls: ['https://x/x']}]"
    table.write_text(f"weights:\n- {{name: x, purpose: x, licence: x,\n   hub: a/b--c, files: {files}}}\n")
    line = refused(weights, "--table", table, "--list")
    assert line == f"error: {table}:3: weights.0.hub: a/b--c is no OWNER/MODEL that the hub takes\n"
