"""`--partition auto`: asks the queue about every profile, weighs waiting against speed, and says why.

    names = candidate_names("auto:a100,a40.yaml")
    choice = choose([load_partition(name) for name in names], stages, config, paths)
    print(choice.explanation)

A job that trains ends at: start + clips left / speed + the same wait again before each further job, where the work does
not fit into one time limit. Other stages run where they start first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vdt_hpc.cluster import queue, snapshot
from vdt_hpc.commands import run_state
from vdt_hpc.commands import site as sites
from vdt_hpc.commands.run_state import RunState
from vdt_hpc.commands.speed import Speed, Speeds
from vdt_hpc.commands.words import columns, moment, span
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, checkout

AUTO = "auto"
SAME_S = 60.0
"""Waits, and ends, that differ by less are the same: the queue's estimates are no better."""


@dataclass(frozen=True)
class Option:
    """One profile, and what choosing it would mean."""

    partition: Partition
    why_not: str = ""
    """Why it cannot be chosen; empty if it can."""
    wait_s: float | None = None
    """Seconds until it would start; None: Slurm cannot tell."""
    speed: Speed | None = None
    """Of training; None: unknown, or no training is left to do."""
    num_jobs: int = 1
    """Jobs of one time limit each that the training takes."""
    end_s: float | None = None
    """Seconds until the training would be complete; None: unknown, or nothing to train."""

    @property
    def peak_tflops(self) -> float:
        """Peak of all its GPUs, 0 where it is not stated."""
        return self.partition.world_size * (self.partition.peak_bf16_tflops or 0.0)


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
    by_end = trains and all(each.end_s is not None for each in possible)
    best = _best(possible, by_end)
    lines = [*_table(options, trains), *_remarks(possible, by_end), _sentence(best, possible, trains, by_end)]
    return Choice(best.partition, tuple(options), "\n".join(lines))


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
        wait_s = trial.wait_s
        speed = speeds.on(profile) if trains else None
        if speed is None:
            options.append(Option(profile, wait_s=wait_s))
            continue
        work_s = clips_left / speed.clips_per_s
        num_jobs = math.ceil(work_s / (60 * profile.timeout_min - profile.save_margin_s))
        end_s = None if wait_s is None else work_s + num_jobs * wait_s
        options.append(Option(profile, "", wait_s, speed, num_jobs, end_s))
    return options


def _best(possible: Sequence[Option], by_end: bool) -> Option:
    """The one that ends, or starts, first; of those that are the same in that, the one with the largest peak."""

    def seconds(option: Option) -> float:
        found = option.end_s if by_end else option.wait_s
        return math.inf if found is None else found

    first = min(seconds(each) for each in possible)
    equals = [each for each in possible if seconds(each) < first + SAME_S or seconds(each) == first]
    return max(equals, key=lambda each: (each.peak_tflops, -seconds(each)))


def _table(options: Sequence[Option], trains: bool) -> list[str]:
    rows = [("profile", "starts", *(("clips/s", "", "jobs", "ends") if trains else ()), "why not")]
    for each in options:
        training: tuple[str, ...] = ()
        if trains:
            training = ("-", "unknown" * (not each.why_not), "-", "-")
            if each.speed:
                end = "-" if each.end_s is None else f"in {span(each.end_s)}"
                training = (f"{each.speed.clips_per_s:.3g}", each.speed.how, str(each.num_jobs), end)
        rows.append((each.partition.name, "-" if each.why_not else moment(each.wait_s), *training, each.why_not))
    return columns(rows, indent="  ")


def _remarks(possible: Sequence[Option], by_end: bool) -> list[str]:
    """What the figures rest on, where it is not plain."""
    if by_end and any(each.num_jobs > 1 and each.wait_s for each in possible):
        return ["  Where the work takes several jobs, each of them is counted as waiting as long as the first."]
    return []


def _sentence(best: Option, possible: Sequence[Option], trains: bool, by_end: bool) -> str:
    name, others = best.partition.name, [each for each in possible if each is not best]
    if not others:
        return f"chosen: {name}, the only one that is possible"
    rival = _best(others, by_end)
    if by_end:
        assert best.end_s is not None and rival.end_s is not None
        if abs(rival.end_s - best.end_s) < SAME_S:
            return f"chosen: {name}, which ends together with {rival.partition.name}{_by_peak(best, rival)}"
        why = f"ends first: in {span(best.end_s)}, {rival.partition.name} in {span(rival.end_s)}"
        return f"chosen: {name}, which {why}{_although(best, rival)}"
    unknown = [each.partition.name for each in possible if trains and each.speed is None]
    reason = f" (the speed on {', '.join(unknown)} is unknown, so that only the start counts)" if unknown else ""
    if best.wait_s is None or (rival.wait_s is not None and abs(rival.wait_s - best.wait_s) < SAME_S):
        return f"chosen: {name}, which starts together with {rival.partition.name}{_by_peak(best, rival)}{reason}"
    starts = f"{moment(best.wait_s)}, {rival.partition.name} {moment(rival.wait_s)}"
    return f"chosen: {name}, which starts first: {starts}{reason}"


def _although(best: Option, rival: Option) -> str:
    """What speaks for the other one, and why it does not count."""
    assert best.speed and rival.speed and best.wait_s is not None and rival.wait_s is not None
    if rival.speed.clips_per_s > best.speed.clips_per_s:
        return f"; that one is faster, but starts {moment(rival.wait_s)}"
    if rival.wait_s + SAME_S < best.wait_s:
        return f"; that one starts {moment(rival.wait_s)}, but is slower"
    return ""


def _by_peak(best: Option, rival: Option) -> str:
    return " and has the larger peak" if best.peak_tflops > rival.peak_tflops else ""
