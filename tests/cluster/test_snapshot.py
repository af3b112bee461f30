"""The copy of the code that jobs execute."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import made_up
from vdt_hpc.cluster import snapshot
from vdt_hpc.experiment import provenance
from vdt_hpc.experiment.paths import paths_for

HOME = Path(__file__).parents[2]


@pytest.fixture
def paths(tmp_path):
    return paths_for(made_up.config(), made_up.partition(tmp_path))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of a commit, with one change."""
    home = tmp_path / "home"
    (home / "jobs").mkdir(parents=True)
    (home / "jobs" / "train.py").write_text("first\n")
    (home / ".gitignore").write_text("*.pyc\n")
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *words], cwd=home, check=True)
    (home / "jobs" / "train.py").write_text("second\n")
    (home / "jobs" / "new.py").touch()
    (home / "jobs" / "train.pyc").touch()
    for module in (snapshot, provenance):
        monkeypatch.setattr(module, "checkout", lambda: home)
    return home


def test_what_is_changed_and_new_is_copied_and_told_apart(paths, checkout):
    first = snapshot.plan(paths)
    first.write()
    assert sorted(path.name for path in (first.folder / "jobs").iterdir()) == ["new.py", "train.py"]
    assert (first.folder / "jobs" / "train.py").read_text() == "second\n"
    assert "+second" in (first.folder / "changes.diff").read_text()
    told = json.loads((first.folder / "code.json").read_text())
    assert told["commit"].endswith("+changes")
    (checkout / "jobs" / "train.py").write_text("third\n")
    second = snapshot.plan(paths)
    assert second.folder != first.folder
    second.write()
    assert (first.folder / "jobs" / "train.py").read_text() == "second\n"


def test_the_copy_runs_and_passes_itself_on(paths):
    code = snapshot.plan(paths)
    code.write()
    code.write()  # there already
    program = (
        "import json\nfrom tests.jobs import made_up\nfrom vdt_hpc.cluster import snapshot\n"
        "from vdt_hpc.experiment.paths import paths_for\nfrom vdt_hpc.experiment.provenance import code_commit\n"
        "paths = paths_for(made_up.config(), made_up.partition('/elsewhere'))\n"
        "print(json.dumps([str(snapshot.plan(paths).folder), code_commit()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=code.folder, capture_output=True, text=True,
        env={"PYTHONPATH": f"{code.folder}:{HOME}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [str(code.folder), provenance.code_commit()]
