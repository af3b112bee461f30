"""What was sent to the queue for a run: `jobs/submissions.jsonl`, a line for every job and for what was changed later.

    {"event": "submitted", "job": "123", "stage": "train", "partition": ..., "cluster": ..., "command": ..., ...}
    {"event": "waits", "job": "124", "cluster": ..., "dependency": "afterok:123?afterok:125"}
    {"event": "ended", "jobs": ["123"], "cluster": ..., "why": ..., "time": ...}

Several processes append, each a line at a time. Jobs of one stage are rivals: the first to start wins, and the others
leave the queue. One that replaces another, though, takes the run over from it when it starts.
"""

import datetime
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from vdt_hpc import files, typed
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.typed import Moment


@dataclass(frozen=True)
class Submission:
    """One job as it was submitted."""

    job: str
    """Slurm's number; of an array, that of the whole."""
    stage: str
    partition: str
    """Name of the profile."""
    cluster: str
    """Name of the Slurm cluster; job numbers mean nothing on another one."""
    command: str
    """Name of the command that submitted it: later commands have names that sort later."""
    time: Moment
    """UTC."""
    array: int = 1
    """Tasks of the job array; 1: no array."""
    dependency: str = ""
    """What it waits for, in Slurm's words, see `dependency.py`; empty: nothing."""
    continues: str = ""
    """The job that submitted this one when it ended, to go on in its place or as its rival."""
    replaces: tuple[str, ...] = ()
    """Jobs that this one takes the run over from when it starts."""
    is_share: bool = False
    """One task of an array that was sent again by itself: it has no rivals."""

    @property
    def has_rivals(self) -> bool:
        """Whether it and the stage's other jobs do the same work."""
        return self.array == 1 and not self.is_share

    @property
    def tasks(self) -> tuple[str, ...]:
        """Ids as squeue has them: one per task of an array."""
        return (self.job,) if self.array == 1 else tuple(f"{self.job}_{index}" for index in range(self.array))


@dataclass(frozen=True)
class _Wait:
    """A job that waits for others than before."""

    job: str
    dependency: str


@dataclass(frozen=True)
class _End:
    """Somebody wants jobs to end."""

    jobs: tuple[str, ...]
    why: str


_KINDS: dict[str, type[Submission | _Wait | _End]] = {"submitted": Submission, "waits": _Wait, "ended": _End}
"""Event -> what its line holds."""


def new_command() -> str:
    """A name for the command at hand; those of later commands sort later."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S-%f}-{uuid.uuid4().hex[:4]}"


def note(paths: RunPaths, submission: Submission) -> None:
    """Add a job to the list.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    files.append_json_line(paths.submissions, {"event": "submitted", **asdict(submission)})


def note_dependency(paths: RunPaths, job: str, cluster: str, dependency: str) -> None:
    """Write down that a job waits for others than before.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    files.append_json_line(
        paths.submissions, {"event": "waits", "job": job, "cluster": cluster, "dependency": dependency}
    )


def note_end(paths: RunPaths, jobs: Iterable[str], cluster: str, why: str) -> None:
    """Write down that somebody wants jobs to end: they must not give themselves back to the queue.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    line = {"event": "ended", "jobs": sorted(jobs), "cluster": cluster, "why": why, "time": now()}
    files.append_json_line(paths.submissions, line)


def read(paths: RunPaths, cluster: str, stage: str | None = None) -> list[Submission]:
    """Jobs that were submitted for a run on a cluster, for one stage or all, oldest first.

    Raises:
        UserError: the list is damaged.
    """
    found: dict[str, Submission] = {}
    for line in _lines(paths, cluster):
        if isinstance(line, Submission):
            found[line.job] = line
        elif isinstance(line, _Wait) and line.job in found:
            found[line.job] = replace(found[line.job], dependency=line.dependency)
    return [each for each in found.values() if stage in (None, each.stage)]


def ends(paths: RunPaths, cluster: str) -> Mapping[str, str]:
    """Job -> why somebody wanted it to end; a cluster that was set up anew may use a job's number again.

    Raises:
        UserError: the list is damaged.
    """
    found: dict[str, str] = {}
    for line in _lines(paths, cluster):
        if isinstance(line, Submission):
            for job in (line.job, *line.tasks):
                found.pop(job, None)
        elif isinstance(line, _End):
            found.update(dict.fromkeys(line.jobs, line.why))
    return found


def replaced_by(submission: Submission, sent: Iterable[Submission]) -> set[str]:
    """Jobs that a job takes over from: those that it names, and those that were sent to go on in their place.

    Args:
        submission: the job.
        sent: all jobs of its stage, oldest first.
    """
    replaced = set(submission.replaces)
    for each in sent:
        if each.job != submission.job and each.continues in replaced:
            replaced.add(each.job)
    return replaced


def _lines(paths: RunPaths, cluster: str) -> Iterator[Submission | _Wait | _End]:
    """The lines about a cluster's jobs."""
    for line in files.read_json_lines(paths.submissions)[0]:
        kind = _KINDS.get(str(line.get("event")))
        if kind is not None and line.get("cluster") == cluster:
            yield typed.read(kind, line, paths.submissions)


def now() -> str:
    """The time as it stands in the list."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
