"""One look at some runs: their folders, then Slurm about all their jobs together, then a verdict on each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vdt_hpc import files
from vdt_hpc.commands.state import facts, judging
from vdt_hpc.commands.state.attempts import Attempt
from vdt_hpc.commands.state.facts import Facts
from vdt_hpc.commands.state.states import UNREADABLE, State
from vdt_hpc.commands.state.witnesses import Slurm
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import RunPaths


@dataclass(frozen=True)
class Seen:
    """One run, as it was found."""

    paths: RunPaths
    state: State
    stage: str
    """The stage that `state` is about; empty for training."""
    facts: Facts | None
    """None: a file of the run is damaged, and `state` says which."""
    jobs: Mapping[Attempt, State]
    """Its jobs, oldest first, and how it stands with each."""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.paths.run.name

    def live_jobs(self) -> list[Attempt]:
        """Jobs that run or wait."""
        return [attempt for attempt, state in self.jobs.items() if state.is_live]


def look(folders: Iterable[RunPaths], slurm: Slurm) -> tuple[list[Seen], Sequence[str]]:
    """Look at some runs; one that cannot be read is a verdict, too.

    Args:
        folders: of the runs.
        slurm: what to ask.

    Returns:
        The runs in the order given, and remarks on who did not answer.
    """
    readable: list[Facts | Seen] = []
    for paths in folders:
        try:
            readable.append(facts.read(paths))
        except UserError as error:
            readable.append(Seen(paths, State(UNREADABLE, str(error)), "", None, {}))
    answers = slurm.ask(run for run in readable if isinstance(run, Facts))
    found = []
    for run in readable:
        if isinstance(run, Facts):
            try:
                with files.readable(run.paths.run):
                    each = judging.all_of(run, answers)
                    run = Seen(run.paths, *judging.of_run(run, each), run, each)
            except UserError as error:
                run = Seen(run.paths, State(UNREADABLE, str(error)), "", None, {})
        found.append(run)
    return found, answers.remarks
