"""Runs at a glance: a row for each of many, a block for each of few."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from vdt_hpc.commands.state import encoding, states
from vdt_hpc.commands.state.attempts import Attempt
from vdt_hpc.commands.state.facts import Facts
from vdt_hpc.commands.state.looking import Seen
from vdt_hpc.commands.state.states import PENDING, REQUEUED, RUNNING, State
from vdt_hpc.commands.words import age, fitted, now, short, span, speed, when, wrapped

NAME_COLUMNS = 12, 24
"""How narrow and how wide the names' column may be; longer names are cut."""
LABEL_COLUMNS = 13
HEADINGS = ("RUN", "STATE", "DONE", "CLIPS", "CLIPS/S", "LEFT", "JOBS")
NUMBERS = ("DONE", "CLIPS", "CLIPS/S", "LEFT")
INDENT = "    "


def table(runs: Sequence[Seen], columns: int) -> Iterator[str]:
    """A row per run, those first that are alive, then those that somebody should look at.

    Args:
        runs: what was found.
        columns: width of the terminal.
    """
    counts = Counter(run.state.word for run in runs)
    told = ", ".join(f"{counts[word]} {word}" for word in states.ORDER if counts[word])
    yield from wrapped(f"{len(runs)} runs: {told}  ({runs[0].paths.root})", columns, INDENT)
    ordered = sorted(runs, key=lambda run: (states.ORDER.index(run.state.word), run.name))
    cells = [HEADINGS, *(_cells(run) for run in ordered)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(HEADINGS))]
    least, most = NAME_COLUMNS
    widths[0] = max(least, min(most, widths[0], columns - sum(widths[1:]) - 2 * (len(widths) - 1)))
    for row, run in zip(cells, [None, *ordered], strict=True):
        aligned = [
            cell.rjust(width) if heading in NUMBERS else fitted(cell, width).ljust(width)
            for heading, cell, width in zip(HEADINGS, row, widths, strict=True)
        ]
        yield fitted("  ".join(aligned).rstrip(), columns)
        remark = _remark(run) if run else ""
        if run and run.facts is None:
            yield from wrapped(INDENT + remark, columns, INDENT)  # somebody must mend it, so all of it is told
        elif remark:
            yield fitted(INDENT + remark, columns)


def _cells(run: Seen) -> tuple[str, ...]:
    """What stands under the headings."""
    found, live = run.facts, run.live_jobs()
    jobs = f"{live[0].job} {live[0].partition}" if live else ""
    jobs += f" +{len(live) - 1}" if len(live) > 1 else ""
    if found is None or found.total_clips is None:
        return run.name, run.state.word, "", "", "", "", jobs
    trains = run.state.word == RUNNING and not run.stage
    return (
        run.name,
        run.state.word,
        f"{int(100 * found.clips_seen / found.total_clips)}%",
        f"{short(found.clips_seen)}/{short(found.total_clips)}",
        speed(found.clips_per_s) if found.clips_per_s and trains else "",
        span(found.left_s) if found.left_s is not None and run.state.is_live else "",
        jobs,
    )


def _remark(run: Seen) -> str:
    """What a row has no column for: what it is about, why, when, and what happened before."""
    parts = [run.stage, _before_training(run.facts) if run.facts else "", run.state.why, _starts(run.state)]
    if run.facts and run.facts.num_restarts:
        count = run.facts.num_restarts
        parts.append(f"{count} restart{'s' * (count > 1)}, after: {run.facts.restart_reasons}")
    return "; ".join(filter(None, parts))


def _before_training(found: Facts) -> str:
    if found.encoding:
        return encoding.describe(found.encoding)
    return "" if found.config else "training not started yet"


def block(run: Seen, columns: int) -> Iterator[str]:
    """All that is known of one run beside its lineage.

    Args:
        run: what was found; its folder could be read.
        columns: width of the terminal.
    """
    found = run.facts
    assert found is not None
    yield f"{run.name}  ({run.paths.run})"
    yield from _lines("state", (f"{run.stage} " if run.stage else "") + describe(run.state), columns)
    if found.encoding:
        yield from _lines("encoding", encoding.describe(found.encoding), columns)
    yield _line("training", _position(found))
    train = found.log.get("train")
    if train:
        share = "" if train.mfu is None else f", {train.mfu:.1%} of the GPUs' peak"
        logged = f", {age(found.logged_at)} ago" if found.logged_at else ""
        yield _line("last line", f"loss {_loss(train.loss)}, {speed(found.clips_per_s or 0.0)} clips/s{share}{logged}")
    validation = found.log.get("validation")
    if validation:
        yield _line("validation", f"loss {_loss(validation.val_loss)} at clip {validation.clips_seen or 0:,}")
    saved = found.checkpoints
    yield _line("checkpoints", f"{len(saved)}" + (f", newest {saved[0].name}" if saved else ""))
    yield _line("trained by", found.holder.describe() if found.holder else "nobody now")
    if found.num_restarts:
        yield from _lines("restarts", f"{found.num_restarts}, after: {found.restart_reasons}", columns)
    yield from _jobs("jobs now", {job: state for job, state in run.jobs.items() if state.is_live}, columns)
    over = {job: state for job, state in run.jobs.items() if not state.is_live and not _has_bar(job, found)}
    yield from _jobs("jobs before", over, columns)


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def describe(state: State) -> str:
    """A state in words, in one line."""
    since = f" since {when(state.start)}" if state.word == RUNNING and state.start else ""
    where = f" on {state.nodes}" if state.nodes else ""
    why = f" ({state.why})" if state.why and state.is_live else f": {state.why}" if state.why else ""
    return f"{state.word}{where}{since}{why}" + (f", {_starts(state)}" if _starts(state) else "")


def _has_bar(job: Attempt, found: Facts) -> bool:
    """Whether the timeline tells of a job."""
    return job.stage == "train" and (job.cluster or "", job.job) in {leg.origin for leg in found.legs}


def _jobs(label: str, jobs: Mapping[Attempt, State], columns: int) -> Iterator[str]:
    """A line for each job, oldest first."""
    if not jobs:
        return
    yield _line(label, "")
    width = max(len(job.where) for job in jobs)
    stage_width = max(len(job.stage) for job in jobs)
    for job, state in jobs.items():
        line = f"{INDENT}{job.stage:{stage_width}}  {job.where:{width}}  {when(job.time)}  {describe(state)}"
        yield from wrapped(line, columns, INDENT * 2)


def _starts(state: State) -> str:
    if state.word not in (PENDING, REQUEUED) or state.start is None:
        return ""
    wait = (state.start.astimezone() - now()).total_seconds()
    return f"starts about {when(state.start)}" + (f", in {span(wait)}" if wait > 0 else "")


def _position(found: Facts) -> str:
    total, seen = found.total_clips, found.clips_seen
    if found.is_trained:
        return f"complete, {seen:,} clips"
    if total is None:
        return "not started yet"
    left = "" if found.left_s is None else f", {span(found.left_s)} left at this speed"
    return f"{seen:,} of {total:,} clips ({seen / total:.1%}{left})"


def _lines(label: str, text: str, columns: int) -> list[str]:
    return wrapped(_line(label, text), columns, " " * (LABEL_COLUMNS + 2))


def _line(label: str, text: str) -> str:
    return f"  {label:{LABEL_COLUMNS}}{text}".rstrip()
