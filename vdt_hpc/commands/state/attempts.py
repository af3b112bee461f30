"""The jobs that were sent off or started for a run, and what they have written about how they ended.

    <run>/jobs/submissions.jsonl                    what was sent to Slurm; logs in <run>/jobs/<stage>/<cluster>/
    <run>/jobs/<time>-<stage>/                      what was started on this machine
        <job>_0_log.out  <job>_0_log.err            the logs of task 0
        <job>_<rank>_outcome.json                   how a task ended, gone while it runs again
        <job>-<restart>_start.json  ..._end.json    when all of them started, and how they ended, by the job's scripts

A job's number means something together with its cluster's name alone: a run may have been moved.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vdt_hpc import files, typed
from vdt_hpc.cluster import submissions
from vdt_hpc.commands.state import states
from vdt_hpc.commands.state.states import State
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.files import Json
from vdt_hpc.typed import Moment

_FOLDER = re.compile(r"(\d{8}-\d{6})-([a-z]+)(?:-\d+)?")
_LOG = re.compile(r"(\d+)_0_log\.out")


@dataclass(frozen=True)
class _Note:
    """What its scripts have noted when a job started or ended."""

    time: Moment | None = None
    why: str = ""


@dataclass(frozen=True)
class Attempt:
    """One job of one stage, or one task of a job array."""

    stage: str
    job: str
    """As squeue has it; process id of the controller where it was started without Slurm."""
    partition: str
    """Name of the profile; empty where nobody noted it."""
    cluster: str | None
    """Name of the Slurm cluster; None for what was started on a machine without it."""
    command: str
    """What sent it off; jobs of one command belong together."""
    folder: Path
    """Where its logs lie."""
    time: datetime
    """When it was sent off or started."""
    array: str = ""
    """Number of the job array that it belongs to; empty: none."""
    continues: str = ""
    """The job that it continues."""
    wish: str = ""
    """Why somebody wanted it to end; empty: nobody did."""

    @property
    def log(self) -> Path:
        """Standard output of task 0; its standard error lies beside it, as `.err`."""
        return self.folder / f"{self.job}_0_log.out"

    @property
    def where(self) -> str:
        """`job 123 on a100`."""
        return f"process {self.job}" if self.cluster is None else f"job {self.job} on {self.partition}"

    def begun(self) -> bool:
        """Whether its tasks have ever started."""
        return self.log.exists()

    def left_word(self) -> tuple[State, int] | None:
        """How its latest start ended by what it has written itself, and which restart that was; None: it has not."""
        statuses, message = [], ""
        for path in sorted(self.folder.glob(f"{self.job}_*_outcome.json")):
            outcome = _read(path)
            statuses.append(str(outcome.get("status")))
            if statuses[-1] != "complete" and not message:
                message = str(outcome.get("message"))
        restart, note = self._last("end") or (0, None)
        if self.last_start() > restart:
            restart, note = self.last_start(), None
        if note is None and not statuses:
            return None
        return states.from_outcomes(statuses, (note.why if note else "") or message), restart

    def left_at(self) -> datetime | None:
        """When its script wrote how it ended, last; None if it never did."""
        found = self._last("end")
        return datetime.fromisoformat(found[1].time).astimezone() if found and found[1].time else None

    def last_start(self) -> int:
        """How often it had been requeued when it last started, as far as it has noted."""
        found = self._last("start")
        return found[0] if found else 0

    def _last(self, what: str) -> tuple[int, _Note] | None:
        """The note of its scripts on its latest start or end; and which restart that is about."""
        named = re.compile(rf"{self.job}-(\d+)_{what}\.json")
        found = self.folder.glob(f"{self.job}-*_{what}.json")
        notes = {int(match[1]): path for path in found if (match := named.fullmatch(path.name))}
        if not notes:
            return None
        path = notes[max(notes)]
        return max(notes), typed.read(_Note, _read(path), path, "it")


def of_run(paths: RunPaths) -> list[Attempt]:
    """All attempts of a run, oldest first.

    Raises:
        UserError: the folder of its jobs cannot be read.
    """
    with files.readable(paths.jobs):
        found = [*_submitted(paths), *_started_here(paths)]
    return sorted(found, key=lambda attempt: attempt.time)


def _submitted(paths: RunPaths) -> list[Attempt]:
    clusters = {str(line.get("cluster")) for line in files.read_json_lines(paths.submissions)[0]}
    found = []
    for cluster in sorted(clusters):
        wishes = submissions.ends(paths, cluster)
        for sent in submissions.read(paths, cluster):
            found += [
                Attempt(
                    stage=sent.stage, job=task, partition=sent.partition, cluster=cluster, command=sent.command,
                    folder=paths.jobs_of(sent.stage, cluster), time=datetime.fromisoformat(sent.time),
                    array=sent.job if sent.array > 1 else "", continues=sent.continues, wish=wishes.get(task, ""),
                )
                for task in sent.tasks
            ]  # fmt: skip
    return found


def _started_here(paths: RunPaths) -> list[Attempt]:
    found = []
    for folder in paths.jobs.iterdir() if paths.jobs.is_dir() else ():
        match = _FOLDER.fullmatch(folder.name)
        logs = [log for path in folder.iterdir() if (log := _LOG.fullmatch(path.name))] if match else []
        if match and logs:
            time = datetime.strptime(match[1], "%Y%m%d-%H%M%S").astimezone()
            found.append(Attempt(match[2], logs[0][1], "", None, folder.name, folder, time))
    return found


def _read(path: Path) -> Json:
    """A small file of a job, which may be replaced or removed while it is looked at."""
    try:
        return files.read_json(path)
    except UserError:
        if path.exists():
            raise
        return {}
