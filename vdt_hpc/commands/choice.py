"""`--partition auto`: asks the queue about every profile, weighs waiting against speed, and says why.

    names = candidate_names("auto:a100,a40.yaml")
    choice = choose([load_partition(name) for name in names], stages, config, paths)
    print(choice.explanation)

Training goes where it ends first: start + clips left / speed + the same wait again before each further job, where the
work does not fit into one time limit. Other stages run where they start first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vdt_hpc.cluster import queue, snapshot
from vdt_hpc.commands import run_state
from vdt_hpc.commands import site as sites
from vdt_hpc.commands.choosing.explanation import explain
from vdt_hpc.commands.choosing.options import Option, best
from vdt_hpc.commands.choosing.speed import Speeds
from vdt_hpc.commands.run_state import RunState
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, checkout

AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """The profile to submit to, and why."""

    partition: Partition
    options: tuple[Option, ...]
    """All that were looked at, in the order in which they were given."""
    explanation: str
    """Lines for people: a table, and a sentence."""


def is_auto(word: str) -> bool:
    """True if `--partition` leaves the choice to us."""
    return word == AUTO or word.startswith(f"{AUTO}:")


def candidate_names(word: str) -> list[str]:
    """Names or files of the profiles that `auto` or `auto:NAME,FILE.yaml,...` lets us choose among.

    Raises:
        UserError: the list is empty or names one twice.
    """
    if word == AUTO:
        return sorted(file.stem for file in (checkout() / "configs" / "partition").glob("*.yaml"))
    names = word.removeprefix(f"{AUTO}:").split(",")
    if not all(names) or len(set(names)) != len(names):
        raise UserError(f"cannot read --partition {word}: write auto:NAME,FILE.yaml,... with each profile once")
    return names


def choose(candidates: Sequence[Partition], names: Sequence[str], config: RunConfig, paths: RunPaths) -> Choice:
    """Choose among the Slurm profiles of the candidates.

    Args:
        candidates: profiles; those of this machine are left out.
        names: stages that would run.
        config, paths: the run.

    Raises:
        UserError: there is no Slurm here, or none of the profiles is possible: each with its reason.
    """
    profiles = [each for each in candidates if each.executor == "slurm"]
    if not profiles:
        raise UserError("--partition auto chooses among Slurm profiles, and there is none; see configs/partition")
    if absence := queue.absence():
        raise UserError(absence)
    state = run_state.look(config, paths)
    trains = "train" in names and state.clips_seen < config.train.total_clips
    options = _options(profiles, "train" if "train" in names else names[0], config, paths, state, trains)
    possible = [each for each in options if not each.why_not]
    if not possible:
        reasons = "; ".join(f"{each.partition.name}: {each.why_not}" for each in options)
        raise UserError(f"no profile is possible: {reasons}")
    by_end = trains and all(each.speed for each in possible) and any(each.end_s is not None for each in possible)
    chosen = best(possible, by_end)
    return Choice(chosen.partition, tuple(options), explain(options, chosen, trains, by_end))


def _options(
    profiles: Sequence[Partition], stage: str, config: RunConfig, paths: RunPaths, state: RunState, trains: bool
) -> list[Option]:
    site, code = sites.ask(), snapshot.plan(paths)
    speeds = Speeds(config, paths, state.history)
    clips_left = config.train.total_clips - state.clips_seen
    options = []
    for profile in profiles:
        trial = sites.try_out(stage, config, profile, paths, code, site)
        if trial.why_not:
            options.append(Option(profile, trial.why_not))
            continue
        option = Option(profile, wait_s=trial.wait_s, doubt=trial.doubt)
        speed = speeds.on(profile) if trains else None
        options.append(option.training(speed, clips_left) if speed else option)
    return options
