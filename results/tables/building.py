"""Tables as views of records: published rows first, ours under them; every empty cell says why in a footnote.

A number stands in a published column only where data set, frame size, protocol and task are the same; otherwise it
has columns of its own.
"""

from collections.abc import Sequence

from results import published, wording
from results.current import Comparison, Measured
from results.metrics import base
from results.published import Published, PublishedRow
from results.subjects import AUTOENCODER, COPY, MODEL, REAL
from results.tables import ranking
from results.tables.origin import of_published, of_record
from results.tables.table import DASH, Cell, Column, Row, Table
from vdt_hpc.store.records import Record

NAMES = {
    AUTOENCODER: ("Autoencoder", "ceiling: the true frames, encoded and decoded"),
    REAL: ("Real against real", "how far apart real clips are from each other"),
}
_NOT_MEASURED = "not measured: the run's evaluate.metrics leave it out, or evaluate ended with a fault that it named"


def build(comparison: Comparison, groups: Sequence[Published], order: Sequence[str], own_protocol: str = "") -> Table:
    """The table of one task by one protocol.

    Args:
        comparison: our rows.
        groups: rows of others; `published.beside` says which are shown.
        order: metrics, in the order of the columns; any others follow.
        own_protocol: name of the run's own protocol, whose table shows published rows in any case.
    """
    others = published.beside(comparison, groups, own_protocol)
    shared = [group for group in others if group.is_comparable(comparison)]
    apart = [group for group in others if group not in shared]
    known = [*comparison.metrics, *(name for group in shared for name in group.metrics)]
    metrics = [*(name for name in order if name in known), *(name for name in known if name not in order)]
    metrics = list(dict.fromkeys(metrics))
    idle = {name: reason for name in metrics if (reason := _never_applies(comparison, name))}
    ours = f"{comparison.dataset} {comparison.frame_height_px} px, {comparison.protocol}"
    if ours in [group.conditions for group in apart]:  # the protocol's name was kept, its frames were not
        ours += f" with {comparison.given_frames} given of {comparison.num_frames} frames"
    columns = [Column(group.conditions, name) for group in apart for name in group.metrics]
    columns += [Column(ours, name) for name in metrics if name not in idle]
    table = Table(f"{comparison.task}-{comparison.protocol}", _title(comparison), tuple(columns))
    for group in others:
        table.rows += [_published_row(table, row, group) for row in group.rows]
    for measured in comparison.rows:
        table.rows.append(_own_row(table, measured, ours))
    table.rows = ranking.ranked(table.rows, table.columns)
    for reason in dict.fromkeys(idle.values()):
        labels = [base.find(name).label for name in idle if idle[name] == reason]
        table.remarks.append(f"{', '.join(labels)}: {reason}.")
    for group in others:
        table.remarks += [*_lists(group.rows), group.caution]
    return table


def _title(comparison: Comparison) -> str:
    record = comparison.model.first
    frames = wording.frames(comparison.task, record.given_indices, comparison.num_frames)
    trajectories = f", {record.num_trajectories} trajectories per clip" if record.num_trajectories > 1 else ""
    clips = f"{record.num_clips} test clips{trajectories}"
    return f"{wording.TASKS.get(comparison.task, comparison.task)}: {frames}; {clips}; protocol {comparison.protocol}"


def _never_applies(comparison: Comparison, metric: str) -> str | None:
    """The one reason why a metric has no meaning in any row, or None."""
    reasons = {row.by_metric[metric].missing for row in comparison.rows if metric in row.by_metric}
    (reason,) = reasons if len(reasons) == 1 else (None,)
    return reason if reason and reason.startswith("does not apply") else None


def _published_row(table: Table, row: PublishedRow, group: Published) -> Row:
    footnote = table.note(row.protocol.text)
    cells = []
    for column in table.columns:
        value = row.values.get(column.metric)
        if column.conditions != group.conditions:
            theirs = group.conditions
            reason = f"the published methods were measured on {theirs} alone; other conditions are not compared with it"
            cells.append(Cell(DASH, footnote=table.note(reason)))
        elif value is None:
            cells.append(Cell(DASH, footnote=table.note(f"not in {row.listed_in}")))
        else:
            doubt = row.doubts.get(column.metric)
            note = table.note(doubt) if doubt else None
            origin = table.trace(of_published(row, group, column.metric))
            shown = _number(value, column.metric)
            cells.append(Cell(shown, value, footnote=note, doubted=doubt is not None, origin=origin))
    return Row(row.method, row.source, "published", tuple(cells), footnote)


def _lists(rows: Sequence[PublishedRow]) -> list[str]:
    """One remark for each list that published rows were taken from."""
    lists = dict.fromkeys(row.listed_in for row in rows)
    return [f"From {one}: {wording.listed([row.method for row in rows if row.listed_in == one])}." for one in lists]


def _own_row(table: Table, measured: Measured, ours: str) -> Row:
    label, detail = name_of(measured.first)
    cells = []
    for column in table.columns:
        record = measured.by_metric.get(column.metric)
        if column.conditions != ours:
            reason = f"this run was measured on {ours}; numbers of different conditions are not compared"
            cells.append(Cell(DASH, footnote=table.note(reason)))
        elif record is None:
            cells.append(Cell(DASH, footnote=table.note(_NOT_MEASURED)))
        elif record.value is None:
            cells.append(Cell(DASH, footnote=table.note(record.missing or "")))
        else:
            text = _number(record.value, column.metric)
            origin = table.trace(of_record(label, record))
            floor = table.note(f"between two sets of {record.floor_clips} real clips") if record.floor_clips else None
            cells.append(Cell(text, record.value, _interval(record), floor, origin=origin, record=record))
    return Row(label, detail, "model" if measured.subject == MODEL else "reference", tuple(cells))


def name_of(record: Record) -> tuple[str, str]:
    """Name of a subject in tables, and what it is."""
    if record.subject == COPY:
        if record.task == "prediction":
            return "Copy last frame", "no motion: the last given frame again and again"
        return "Copy given frame", "no motion: the nearest given frame before each, or the first after it"
    decoded = f", decoded in {record.decode_precision}" if record.decode_precision else ""
    if record.subject != MODEL:
        label, detail = NAMES[record.subject]
        return label, detail + decoded
    how = f"{wording.way(record.sampler, record.num_steps)}{decoded}, {record.clips_seen:,} clips seen"
    return f"VDT, run {record.run}", how


def _number(value: float, metric: str) -> str:
    return base.find(metric).rounded(value)


def _interval(record: Record) -> str:
    if record.interval_low is None or record.interval_high is None:
        return ""
    return f"{_number(record.interval_low, record.metric)} to {_number(record.interval_high, record.metric)}"
