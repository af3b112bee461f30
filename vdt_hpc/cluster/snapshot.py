"""The code that a run's jobs execute: a copy as it was when they were submitted.

    <run>/code/<commit>-<hash>/ vdt_hpc ... configs  changes.diff  code.json (commit, SHA-256)

A job may start days after its submission and start again weeks later; whatever happens to the checkout meanwhile, it
goes on with the same code. Jobs of the same code share a copy.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc import files
from vdt_hpc.experiment.paths import RunPaths, checkout
from vdt_hpc.experiment.provenance import SNAPSHOT, code_commit, git

PARTS = ("vdt_hpc", "preprocess", "jobs", "results", "configs")


@dataclass(frozen=True)
class Snapshot:
    """A copy of the code, there or planned."""

    folder: Path
    sources: tuple[Path, ...]
    """What it holds, relative to the checkout; empty if the running code is the copy."""
    sha256: str

    def write(self) -> None:
        """Make the copy, unless it is there.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        if not self.sources or self.folder.exists():
            return
        home = checkout()
        with files.finish_folder(self.folder) as staged:
            for source in self.sources:
                target = staged / source
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(home / source, target)
            (staged / "changes.diff").write_text(git("diff", "HEAD") or "", encoding="utf-8")
            files.write_json(staged / SNAPSHOT, {"commit": code_commit(), "sha256": self.sha256})


def plan(paths: RunPaths) -> Snapshot:
    """The copy that jobs submitted now would execute; a job that submits another passes its own on."""
    home = checkout()
    if (home / SNAPSHOT).exists():
        return Snapshot(home, (), files.read_json(home / SNAPSHOT)["sha256"])
    sources = tuple(_sources(home))
    digest = hashlib.sha256()
    for source in sources:
        content = (home / source).read_bytes()
        digest.update(f"{source}\n{len(content)}\n".encode() + content)
    commit = code_commit().removesuffix("+changes")
    return Snapshot(paths.code / f"{commit}-{digest.hexdigest()[:8]}", sources, digest.hexdigest())


def _sources(home: Path) -> list[Path]:
    """Files of the code, those that are not committed yet too, but none that git is told to ignore."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PARTS)
    if listed is not None:
        found = [Path(name) for name in listed.split("\0") if name]
    else:
        found = [path.relative_to(home) for part in PARTS for path in (home / part).rglob("*")]
        found = [path for path in found if "__pycache__" not in path.parts]
    return sorted(path for path in found if (home / path).is_file())
