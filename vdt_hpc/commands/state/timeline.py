"""The lineage of a run as a timeline: a bar for every job that trained it, on one axis of time.

    job      where     start        lasted
    123-0    a100 x 5  11-20 14:02    10 h  ..########
      clips 0 -> 40,000: the time limit (gpu-a100)
    123-1    a100 x 5  11-21 02:10     8 h            ....######

Where the terminal is too narrow for both, the bars stand below the words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vdt_hpc.commands.state.attempts import Attempt
from vdt_hpc.commands.state.facts import Facts
from vdt_hpc.commands.state.looking import Seen
from vdt_hpc.commands.state.overview import describe
from vdt_hpc.commands.state.states import PENDING, REQUEUED, RUNNING, STOPPING
from vdt_hpc.commands.words import now, span, wrapped
from vdt_hpc.store.asked import asked
from vdt_hpc.store.ledger import KILLED as LEFT_NO_WORD
from vdt_hpc.store.ledger import Leg

TRAINS, WAITS, LOST = "#", ".", "?"
MEANING = {TRAINS: "trains", WAITS: "waits in the queue, starts up", LOST: "nobody knows until when"}
LEAST_BAR_COLUMNS = 16
MARGIN = "    "
_SHORT = timedelta(hours=2)
"""A course shorter than that is told in seconds."""


@dataclass(frozen=True)
class Row:
    """One job's line: what is told in words, and what is drawn."""

    job: str
    where: str
    words: str
    start: datetime
    """When it began to train; when it began to wait, if it still waits."""
    waits_from: datetime | None = None
    """Since when it had waited in the queue; None: it had not."""
    end: datetime | None = None
    """When it ended; now, while it trains; None: nobody knows, or it has not started."""
    lost_by: datetime | None = None
    """The latest moment at which it can have ended, where nobody knows; None otherwise."""
    is_waiting: bool = False


def timeline(run: Seen, columns: int) -> Iterator[str]:
    """Lines that show a run's course; one line where nothing has trained yet and nothing waits to.

    Args:
        run: what was found; its folder could be read.
        columns: width of the terminal.
    """
    found = run.facts
    assert found is not None
    rows = [*_legs(run, found), *_waiting(run, found)]
    if not found.legs:
        yield "  lineage      none has trained yet"
    else:
        for line in _totals(rows, found):
            yield from wrapped(line, columns, " " * 15)
    if not rows:
        return
    yield ""
    yield from _drawn(rows, columns)


def _totals(rows: Sequence[Row], found: Facts) -> Iterator[str]:
    """How many jobs, restarts and lost clips; and the hours of each partition."""
    num, lost = len(found.legs), sum(leg.lost_clips for leg in found.legs)
    counts = [f"{num} job{'s' * (num > 1)}", f"{found.num_restarts} restart{'s' * (found.num_restarts != 1)}"]
    yield f"  lineage      {', '.join([*counts, f'{lost:,} clips lost'])}"
    hours: dict[tuple[str, str], float] = {}
    unknown: set[tuple[str, str]] = set()
    for leg, row in zip(found.legs, rows, strict=False):
        key = leg.partition, "GPU hours" if asked(found.paths, leg).has_gpus else "task hours"
        end = row.end or row.lost_by
        hours[key] = hours.get(key, 0.0) + (leg.world_size * (end - row.start).total_seconds() / 3600 if end else 0.0)
        if row.end is None:
            unknown.add(key)
    told = [
        f"{'at most ' if key in unknown else ''}{_hours(spent)} {key[1]} on {key[0]}" for key, spent in hours.items()
    ]
    yield f"  spent        {', '.join(told)}"


def _hours(count: float) -> str:
    return f"{count:,.0f}" if count >= 9.95 else f"{count:.2g}"


def _legs(run: Seen, found: Facts) -> Iterator[Row]:
    """A row for every job that has trained the run."""
    sent = {(job.cluster or "", job.job): job for job in run.jobs if job.stage == "train"}
    for number, leg in enumerate(found.legs):
        job, start = sent.get(leg.origin), _moment(leg.start)
        before = found.legs[number - 1] if number else None
        if before and before.origin == leg.origin:
            waits_from = _moment(before.end) if before.end else None
        else:
            waits_from = job.time if job and job.cluster else None
        why, end, lost_by = leg.why or "", _moment(leg.end) if leg.end else None, None
        if leg.why is None:
            why, end = _open_end(leg, run, job)
        if end is None:
            is_last = number + 1 == len(found.legs)
            lost_by = (found.logged_at or start) if is_last else _moment(found.legs[number + 1].start)
        yield Row(
            job=leg.job, where=f"{leg.partition} x {leg.world_size}", words=_words(leg, why, found), start=start,
            waits_from=waits_from if waits_from and waits_from < start else None, end=end, lost_by=lost_by,
        )  # fmt: skip


def _open_end(leg: Leg, run: Seen, job: Attempt | None) -> tuple[str, datetime | None]:
    """How it stands with a job whose end the lineage does not tell yet; and until when it has trained, if known."""
    state = run.jobs[job] if job else run.state
    if state.word in (RUNNING, STOPPING) and not (run.stage and job is None):
        return state.word, now()
    left = job.left_word() if job else None
    if job and left and left[1] >= leg.restart:
        return (left[0].why or left[0].word) if state.is_live else describe(state), job.left_at()
    return LEFT_NO_WORD if state.is_live else describe(state), None


def _words(leg: Leg, why: str, found: Facts) -> str:
    """What a job did, beside its bar."""
    came = leg.last_clips if leg.last_clips is not None else max(found.clips_seen, leg.first_clips)
    lost = f", {leg.lost_clips:,} lost" if leg.lost_clips else ""
    # The cluster needs no mention where there was only one.
    cluster = f" of {leg.cluster or 'no cluster'}" if len({each.cluster for each in found.legs}) > 1 else ""
    return f"clips {leg.first_clips:,} -> {came:,}{lost}: {why} ({leg.node}{cluster})"


def _waiting(run: Seen, found: Facts) -> Iterator[Row]:
    """A row for every job that waits to train."""
    for job, state in run.jobs.items():
        if job.stage == "train" and state.word in (PENDING, REQUEUED):
            ends = [leg.end for leg in found.legs if leg.origin == (job.cluster, job.job)]
            since = _moment(ends[-1]) if ends and ends[-1] else job.left_at() or job.time
            yield Row(job.job, job.partition, describe(state), since, waits_from=since, is_waiting=True)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone()


def _drawn(rows: Sequence[Row], columns: int) -> Iterator[str]:
    """The rows as text, under an axis of time."""
    first = min(row.waits_from or row.start for row in rows)
    last = max(max(filter(None, (row.start, row.end, row.lost_by))) for row in rows)
    last = max(last, now()) if any(row.is_waiting for row in rows) else last
    last = max(last, first + timedelta(seconds=1))
    day = "%H:%M:%S" if last - first < _SHORT else "%m-%d %H:%M"
    cells = [(row.job, row.where, f"{row.start:{day}}", "" if row.is_waiting else _lasted(row)) for row in rows]
    heads = ("job", "where", "start", "lasted")
    widths = [max(len(row[number]) for row in (heads, *cells)) for number in range(4)]
    label = sum(widths) + 2 * len(widths) + len(MARGIN)
    room = columns - label
    if room < LEAST_BAR_COLUMNS:  # no room beside the words: below them
        label, room = len(MARGIN), max(LEAST_BAR_COLUMNS, columns - len(MARGIN))
    beside = label > len(MARGIN)
    bars = [_bar(row, first, last, room) for row in rows]
    start, end = (f"{moment.astimezone():{day}}" for moment in (first, last))
    axis = start + end.rjust(room - len(start))
    head = _aligned(heads, widths)
    yield (head.ljust(label) + axis) if beside else head
    if not beside:
        yield MARGIN + axis
    for row, cell, bar in zip(rows, cells, bars, strict=True):
        text = _aligned(cell, widths)
        yield (text.ljust(label) + bar).rstrip() if beside else text.rstrip()
        if not beside:
            yield (MARGIN + bar).rstrip()
        yield from wrapped(f"{MARGIN}  {row.words}", columns, MARGIN + "    ")
    used = [f"{sign} {meaning}" for sign, meaning in MEANING.items() if any(sign in bar for bar in bars)]
    yield from wrapped(MARGIN + "   ".join(used), columns, MARGIN)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    job, where, start, lasted = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"{MARGIN}{job}  {where}  {start}  {lasted.strip().rjust(widths[3])}"


def _bar(row: Row, first: datetime, last: datetime, room: int) -> str:
    """One job on the axis; what it did is drawn, however short it was."""

    def column(moment: datetime) -> int:
        return round(room * ((moment - first) / (last - first)))

    signs = [" "] * room

    def draw(start: datetime, end: datetime, sign: str) -> None:
        begins = min(column(start), room - 1)
        for position in range(begins, max(column(end), begins + 1)):
            signs[position] = sign

    if row.waits_from:
        draw(row.waits_from, last if row.is_waiting else row.start, WAITS)
    if row.end:
        draw(row.start, row.end, TRAINS)
    elif row.lost_by:
        draw(row.start, row.lost_by, LOST)
    return "".join(signs)


def _lasted(row: Row) -> str:
    return span((row.end - row.start).total_seconds()) if row.end else "?"
