"""What a job waits for, in Slurm's words: `afterok:1?afterok:2` (either has ended well), `afterok:1:2` (both have)."""

from collections.abc import Iterable


def any_of(jobs: Iterable[str]) -> str:
    """One of the jobs must end well; empty if there are none."""
    return "?".join(f"afterok:{job}" for job in jobs)


def all_of(jobs: Iterable[str]) -> str:
    """All jobs must end well; empty if there are none."""
    wanted = ":".join(jobs)
    return f"afterok:{wanted}" if wanted else ""


def jobs_in(dependency: str) -> tuple[str, ...]:
    """The jobs that are waited for."""
    return tuple(job for word in dependency.split("?") for job in word.split(":")[1:])
