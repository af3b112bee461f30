"""Which code made a thing."""

import subprocess

from vdt_hpc import files
from vdt_hpc.experiment.paths import checkout

SNAPSHOT = "code.json"
"""In a copy of the code: which commit it is of."""


def code_commit() -> str:
    """Commit of the running code (12 hex digits), `+changes` appended where files differ; `unknown` outside git."""
    if (checkout() / SNAPSHOT).exists():
        return str(files.read_json(checkout() / SNAPSHOT)["commit"])
    commit = git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return "unknown"
    return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def git(*arguments: str) -> str | None:
    """What git says about the running code; None where the code is no git checkout or git is missing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=checkout(), capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
