"""What was sent to the queue for a run: `jobs/submissions.jsonl`, one line per job, and one per wish to end jobs.

    {"event": "submitted", "job": "123", "stage": "train", "partition": ..., "cluster": ..., "command": ..., ...}
    {"event": "ended", "jobs": ["123"], "cluster": ..., "why": ..., "time": ...}

Several processes append, each a line at a time. Jobs of one command are equals: the first to start wins. Those of a
later command for the same stage take the run over from those of an earlier one.
"""

import datetime
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

from vdt_hpc import files
from vdt_hpc.experiment.paths import RunPaths


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
    time: str
    """UTC, ISO 8601."""
    array: int = 1
    """Tasks of the job array; 1: no array."""
    after: tuple[str, ...] = ()
    """Jobs of which one must end well before this one starts."""
    continues: str = ""
    """The job that submitted this one, because Slurm would not requeue it."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Ids as squeue has them: one per task of an array."""
        return (self.job,) if self.array == 1 else tuple(f"{self.job}_{index}" for index in range(self.array))


def new_command() -> str:
    """A name for the command at hand; those of later commands sort later."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S-%f}-{uuid.uuid4().hex[:4]}"


def note(paths: RunPaths, submission: Submission) -> None:
    """Add a job to the list.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    files.append_json_line(paths.submissions, {"event": "submitted", **asdict(submission)})


def note_end(paths: RunPaths, jobs: Iterable[str], cluster: str, why: str) -> None:
    """Write down that somebody wants jobs to end: they must not give themselves back to the queue.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    line = {"event": "ended", "jobs": sorted(jobs), "cluster": cluster, "why": why, "time": now()}
    files.append_json_line(paths.submissions, line)


def read(paths: RunPaths, cluster: str, stage: str | None = None) -> list[Submission]:
    """Jobs that were submitted for a run on a cluster, for one stage or all, oldest first."""
    known = {field.name for field in fields(Submission)}
    lines = files.read_json_lines(paths.submissions)[0]
    found = [
        Submission(**{**{name: line[name] for name in known if name in line}, "after": tuple(line.get("after", ()))})
        for line in lines
        if line.get("event") == "submitted"
    ]
    return [each for each in found if each.cluster == cluster and stage in (None, each.stage)]


def ends(paths: RunPaths, cluster: str) -> Mapping[str, str]:
    """Job -> why somebody wanted it to end."""
    lines = files.read_json_lines(paths.submissions)[0]
    return {
        job: str(line["why"])
        for line in lines
        if line.get("event") == "ended" and line.get("cluster") == cluster
        for job in line["jobs"]
    }


def now() -> str:
    """The time as it stands in the list."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
