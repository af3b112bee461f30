"""Tables as views of records: published rows first, ours under them; every empty cell says why in a footnote.

A number stands in a published column only where data set, frame size, protocol and task are the same; otherwise it
has columns of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from results import wording
from results.current import Comparison, Measured
from results.metrics import base
from results.published import Published, PublishedRow
from results.subjects import AUTOENCODER, COPY, MODEL, REAL
from vdt_hpc.store.records import Record

NAMES = {
    AUTOENCODER: ("Autoencoder", "ceiling: the true frames, encoded and decoded"),
    REAL: ("Real against real", "how far apart real clips are from each other"),
}
DASH = "–"


@dataclass(frozen=True)
class Column:
    """One metric under one set of conditions."""

    conditions: str
    """Data set, frame size and protocol, as the header names them."""
    metric: str

    @property
    def label(self) -> str:
        """The metric's name, its unit and the arrow to better values."""
        metric = base.find(self.metric)
        return f"{metric.label}{f' ({metric.unit})' if metric.unit else ''} {metric.arrow}"


@dataclass(frozen=True)
class Cell:
    """One number as the table shows it."""

    text: str
    interval: str = ""
    footnote: int | None = None
    """Number of the footnote, from 1."""


@dataclass(frozen=True)
class Row:
    """One method."""

    label: str
    detail: str
    """What the row is: its source, or how it came about."""
    kind: str
    """`published`, `model` or `reference`."""
    cells: tuple[Cell, ...]


@dataclass
class Table:
    """A table ready to be written."""

    title: str
    columns: tuple[Column, ...]
    rows: list[Row] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What concerns the table as a whole."""

    def note(self, text: str) -> int:
        """Number of a footnote; the same text has one number."""
        if text not in self.footnotes:
            self.footnotes.append(text)
        return self.footnotes.index(text) + 1

    def starts_group(self, index: int) -> bool:
        """Whether a column is the first under its conditions."""
        return not index or self.columns[index].conditions != self.columns[index - 1].conditions

    def groups(self) -> list[tuple[str, int]]:
        """Conditions and how many columns each has."""
        names = [column.conditions for column in self.columns]
        return [(name, names.count(name)) for name in dict.fromkeys(names)]


def build(comparison: Comparison, published: Published, frame_height_px: int, order: Sequence[str]) -> Table:
    """The table of one task by one protocol.

    Args:
        comparison: our rows.
        published: rows of others; they are shown with their own task.
        frame_height_px: height of our frames.
        order: metrics, in the order of the columns; any others follow.
    """
    same = comparable(comparison, published, frame_height_px)
    others = published.rows if published.task == comparison.task else ()
    listed = tuple(dict.fromkeys(name for row in others for name in row.values))
    known = [*comparison.metrics, *(listed if same else ())]
    metrics = [*(name for name in order if name in known), *(name for name in known if name not in order)]
    metrics = list(dict.fromkeys(metrics))
    idle = {name: reason for name in metrics if (reason := _never_applies(comparison, name))}
    theirs = f"{published.dataset} {published.frame_height_px} px, {published.protocol}"
    ours = f"{comparison.dataset} {frame_height_px} px, {comparison.protocol}"
    if ours == theirs and not same:  # the protocol's name was kept, its frames were not
        ours += f" with {comparison.given_frames} given of {comparison.num_frames} frames"
    columns = [Column(ours, name) for name in metrics if name not in idle]
    if others and not same:
        columns = [*(Column(theirs, name) for name in listed), *columns]
    table = Table(_title(comparison), tuple(columns))
    for row in others:
        table.rows.append(_published_row(table, row, theirs, published))
    for measured in comparison.rows:
        table.rows.append(_own_row(table, measured, ours, comparison))
    for reason in dict.fromkeys(idle.values()):
        labels = [base.find(name).label for name in idle if idle[name] == reason]
        table.remarks.append(f"{', '.join(labels)}: {reason}.")
    if others:
        table.remarks.append(f"Published rows as listed in {published.listed_in}. {published.caution}")
    return table


def comparable(comparison: Comparison, published: Published, frame_height_px: int) -> bool:
    """Whether our numbers may stand in the published columns."""
    ours = (comparison.dataset, comparison.protocol, comparison.task, frame_height_px,
            comparison.given_frames, comparison.num_frames)  # fmt: skip
    return ours == (published.dataset, published.protocol, published.task, published.frame_height_px,
                    published.given_frames, published.num_frames)  # fmt: skip


def _title(comparison: Comparison) -> str:
    record = comparison.model.first
    frames = wording.frames(comparison.task, record.given_indices, comparison.num_frames)
    trajectories = f", {record.num_trajectories} trajectories per clip" if record.num_trajectories > 1 else ""
    return (
        f"{wording.TASKS.get(comparison.task, comparison.task)}: {frames}; {record.num_clips} test clips{trajectories}"
    )


def _never_applies(comparison: Comparison, metric: str) -> str | None:
    """The one reason why a metric has no meaning in any row, or None."""
    reasons = {row.by_metric[metric].missing for row in comparison.rows if metric in row.by_metric}
    (reason,) = reasons if len(reasons) == 1 else (None,)
    return reason if reason and reason.startswith("does not apply") else None


def _published_row(table: Table, row: PublishedRow, theirs: str, published: Published) -> Row:
    cells = []
    for column in table.columns:
        value = row.values.get(column.metric)
        if column.conditions != theirs:
            reason = f"the published methods were measured on {theirs} alone; other conditions are not compared with it"
            cells.append(Cell(DASH, footnote=table.note(reason)))
        elif value is None:
            cells.append(Cell(DASH, footnote=table.note(f"not in {published.listed_in}")))
        else:
            doubt = row.doubts.get(column.metric)
            cells.append(Cell(_number(value, column.metric), footnote=table.note(doubt) if doubt else None))
    return Row(row.method, row.source, "published", tuple(cells))


def _own_row(table: Table, measured: Measured, ours: str, comparison: Comparison) -> Row:
    cells = []
    for column in table.columns:
        record = measured.by_metric.get(column.metric)
        if column.conditions != ours:
            reason = f"this run was measured on {ours}; numbers of different conditions are not compared"
            cells.append(Cell(DASH, footnote=table.note(reason)))
        elif record is None:
            cells.append(Cell(DASH, footnote=table.note("not measured: the run's evaluate.metrics left it out")))
        elif record.value is None:
            cells.append(Cell(DASH, footnote=table.note(record.missing or "")))
        else:
            cells.append(Cell(_number(record.value, column.metric), _interval(record)))
    label, detail = name_of(measured.first)
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
    how = f"{(record.sampler or '').upper()}, {record.num_steps} steps{decoded}, {record.clips_seen:,} clips seen"
    return f"VDT, run {record.run}", how


def _number(value: float, metric: str) -> str:
    return f"{value:.{base.find(metric).num_digits}f}"


def _interval(record: Record) -> str:
    if record.interval_low is None or record.interval_high is None:
        return ""
    return f"{_number(record.interval_low, record.metric)} to {_number(record.interval_high, record.metric)}"


def to_markdown(tables: Sequence[Table]) -> str:
    """All tables as Markdown, each with its footnotes."""
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table: Table) -> str:
    header = ["Method", *(f"{column.conditions}: {column.label}" for column in table.columns)]
    lines = [f"## {table.title}", "", _line(header), _line([":--", *("--:" for _ in table.columns)])]
    for row in table.rows:
        name = f"**{row.label}** ({row.detail})" if row.kind == "model" else f"{row.label} ({row.detail})"
        lines.append(_line([name, *map(_cell_text, row.cells)]))
    lines += ["", "Brackets: 95 % bootstrap interval over clips.", ""]
    lines += [f"{number}. {text}" for number, text in enumerate(table.footnotes, 1)]
    lines += ["", *(line for remark in table.remarks for line in (remark, ""))]
    return "\n".join(lines)


def _cell_text(cell: Cell) -> str:
    interval = f" [{cell.interval}]" if cell.interval else ""
    return f"{cell.text}{interval}" + (f" ({cell.footnote})" if cell.footnote else "")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def to_csv(comparisons: Sequence[Comparison], published: Published, frame_height_px: int) -> str:
    """All numbers, one per line and not rounded, with all that traces them; `missing` says why one is not there."""
    lines: list[dict[str, Any]] = []
    for row in published.rows:
        for metric, value in row.values.items():
            lines.append({
                "kind": "published", "method": row.method, "dataset": published.dataset,
                "frame_height_px": published.frame_height_px, "task": published.task, "protocol": published.protocol,
                "metric": metric, "value": value, "missing": None, "doubt": row.doubts.get(metric),
                "source": row.source, "num_frames": published.num_frames, "given_frames": published.given_frames,
            })  # fmt: skip
    for record in (r for c in comparisons for row in c.rows for r in row.by_metric.values()):
        label, _ = name_of(record)
        kind = "model" if record.subject == MODEL else "reference"
        lines.append({"kind": kind, "method": label, "frame_height_px": frame_height_px, **vars(record)})
    frame = pd.DataFrame(lines)
    # Whole numbers stay whole where other lines have none.
    counts = ["num_clips", "num_trajectories", "num_frames", "given_frames", "num_steps", "seed", "clips_seen"]
    frame[counts] = frame[counts].astype("Int64")
    return frame.to_csv(index=False)
