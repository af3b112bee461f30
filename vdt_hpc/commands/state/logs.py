"""Follow the log of a run: that of task 0 of the job that runs, then that of the job that goes on."""

import sys
import time
from pathlib import Path

from vdt_hpc import files
from vdt_hpc.commands.state.attempts import Attempt
from vdt_hpc.commands.state.looking import Seen, look
from vdt_hpc.commands.state.overview import describe
from vdt_hpc.commands.state.states import COMPLETE, RUNNING, STOPPING, UNREADABLE
from vdt_hpc.commands.state.witnesses import Slurm
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import RunPaths

POLL_S = 0.2
"""How often the files are looked at."""
ASK_S = 5.0
"""How often it is asked which job runs."""
LAST_LINES = 50
"""Lines of what was there before that are shown."""
_LAST_BYTES = 1 << 16
_TRACEBACK = b"Traceback (most recent call last)"


def follow(paths: RunPaths, stage: str, slurm: Slurm) -> None:
    """Copy the log of a stage to standard output until no job of the stage runs or waits.

    Args:
        paths: of the run.
        stage: name of the stage; empty: that of the job that runs, else of the last one.
        slurm: what to ask.

    Raises:
        UserError: no job of the stage was ever sent off or started, or a file cannot be read.
    """
    current: Attempt | None = None
    tails: list[Tail] = []
    told = ""
    while True:
        seen = _seen(paths, slurm)
        chosen = _choose(seen, stage, current)
        if chosen is None:
            known = ", ".join(sorted({job.stage for job in seen.jobs})) or "none"
            what = f"of stage {stage} " if stage else ""
            raise UserError(f"no job {what}of {seen.name} was sent off or started; stages with jobs: {known}")
        stage = chosen.stage
        is_live = any(job.stage == stage for job in seen.live_jobs())
        if chosen != current:
            tails = [Tail(chosen.log), Tail(chosen.log.with_suffix(".err"))]
            if current is None:
                tails[0].skip_to_last_lines()
                tails[1].skip_to_traceback(is_live)
            current, told = chosen, ""
        line = _line(seen, chosen, is_live)
        if line != told:
            print(line, flush=True)
            told = line
        if not is_live:
            _copy(tails)
            return
        deadline = time.monotonic() + ASK_S
        while time.monotonic() < deadline:
            _copy(tails)
            time.sleep(POLL_S)


class Tail:
    """What a file gains.

    Args:
        path: the file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def skip_to_last_lines(self) -> None:
        """Start with the last lines of what is there."""
        last = self._last_bytes()
        lines = last.splitlines(keepends=True)
        self._position = self._size() - sum(len(line) for line in lines[-LAST_LINES:])

    def skip_to_traceback(self, is_live: bool) -> None:
        """Start with the last traceback, or at the end: there is none, or the job has started again since."""
        last = self._last_bytes()
        found = -1 if is_live else last.rfind(_TRACEBACK)
        self._position = self._size() - (len(last) - found if found >= 0 else 0)

    def copy(self) -> None:
        """Copy what was gained to standard output, as bytes.

        Raises:
            UserError: the file cannot be read.
        """
        if self._size() < self._position:
            self._position = 0  # written anew
        if self._size() == self._position:
            return
        with files.readable(self._path), self._path.open("rb") as file:
            file.seek(self._position)
            while gained := file.read(_LAST_BYTES):
                self._position += len(gained)
                sys.stdout.flush()
                sys.stdout.buffer.write(gained)
        sys.stdout.buffer.flush()

    def _last_bytes(self) -> bytes:
        if not self._size():
            return b""
        with files.readable(self._path), self._path.open("rb") as file:
            file.seek(max(0, self._size() - _LAST_BYTES))
            return file.read()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0


def _seen(paths: RunPaths, slurm: Slurm) -> Seen:
    (seen,), _ = look([paths], slurm)
    if seen.state.word == UNREADABLE:
        raise UserError(seen.state.why)
    return seen


def _choose(seen: Seen, stage: str, current: Attempt | None) -> Attempt | None:
    """The job that runs, of several the one that was followed; else the last that ran; else one that waits."""
    wanted = [job for job in seen.jobs if stage in ("", job.stage)]
    running = [job for job in wanted if seen.jobs[job].word in (RUNNING, STOPPING)]
    if current in running:
        return current
    begun = sorted((job for job in wanted if job.begun()), key=lambda job: job.log.stat().st_mtime)
    waiting = [job for job in wanted if seen.jobs[job].is_live]
    for jobs in (running, begun, waiting, wanted):
        if jobs:
            return jobs[-1]
    return None


def _line(seen: Seen, job: Attempt, is_live: bool) -> str:
    """What is followed, and how it stands with it."""
    state = seen.jobs[job]
    line = f"==> {job.log} <== {job.stage}, {job.where}: {describe(state)}"
    if is_live and not state.is_live:
        others = [other.where for other in seen.live_jobs() if other.stage == job.stage]
        return f"{line}; {', '.join(others)} will go on"
    return line if is_live or state.word == COMPLETE else f"{line}; nothing of {job.stage} runs or waits"


def _copy(tails: list[Tail]) -> None:
    for tail in tails:
        tail.copy()
