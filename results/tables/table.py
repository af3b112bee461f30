"""What a table is, before any format writes it."""

from dataclasses import dataclass, field
from typing import Literal

from results.metrics import base
from vdt_hpc.store.records import Record

DASH = "–"
RANKED = "No rank: the autoencoder, real clips, copied frames, numbers that a footnote doubts. Equal ones share a rank."
"""Which numbers the marks of the best and the second best are given among."""
MOST_ROWS = 20
"""A page shows more of them in a frame of a screen's height that scrolls below the header."""


@dataclass(frozen=True)
class Origin:
    """What traces numbers of one row."""

    label: str
    """Of the row."""
    facts: tuple[tuple[str, str], ...]
    """(what it is, what it says)."""


@dataclass(frozen=True)
class Column:
    """One metric under one set of conditions."""

    conditions: str
    """Data set, frame size and protocol, as the header names them."""
    metric: str

    @property
    def name(self) -> str:
        """The metric's name and its unit."""
        return base.find(self.metric).title

    @property
    def arrow(self) -> str:
        """Arrow to better values."""
        return base.find(self.metric).arrow

    @property
    def label(self) -> str:
        """The metric's name, its unit and the arrow to better values."""
        return base.find(self.metric).heading


@dataclass(frozen=True)
class Cell:
    """One number as the table shows it."""

    text: str
    value: float | None = None
    """The number, not rounded; None for a dash."""
    interval: str = ""
    footnote: int | None = None
    """Number of the footnote, from 1."""
    doubted: bool = False
    """Whether the footnote says not to trust the number."""
    origin: int | None = None
    """Number of what traces it, from 1; None for a dash."""
    record: Record | None = None
    """The record that it shows; None for published numbers and dashes."""
    rank: int | None = None
    """Place in its column, 1 for the best; None where it is not compared."""


@dataclass(frozen=True)
class Row:
    """One method."""

    label: str
    detail: str
    """What the row is: its source, or how it came about."""
    kind: Literal["published", "model", "reference"]
    cells: tuple[Cell, ...]
    footnote: int | None = None
    """Number of the footnote about the whole row, from 1."""


@dataclass
class Table:
    """A table ready to be written."""

    name: str
    """Task and protocol, as runs name them."""
    title: str
    columns: tuple[Column, ...]
    rows: list[Row] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    """Each once: mostly, all numbers of a row come from the same."""
    remarks: list[str] = field(default_factory=list)
    """What concerns the table as a whole."""

    def note(self, text: str) -> int:
        """Number of a footnote; the same text has one number."""
        if text not in self.footnotes:
            self.footnotes.append(text)
        return self.footnotes.index(text) + 1

    def trace(self, origin: Origin) -> int:
        """Number of what traces a number; the same has one."""
        if origin not in self.origins:
            self.origins.append(origin)
        return self.origins.index(origin) + 1

    def starts_group(self, index: int) -> bool:
        """Whether a column is the first under its conditions."""
        return not index or self.columns[index].conditions != self.columns[index - 1].conditions

    def groups(self) -> list[tuple[str, int]]:
        """Conditions and how many columns each has."""
        names = [column.conditions for column in self.columns]
        return [(name, names.count(name)) for name in dict.fromkeys(names)]

    @property
    def is_ranked(self) -> bool:
        """Whether any number has a rank."""
        return any(cell.rank for row in self.rows for cell in row.cells)

    @property
    def has_intervals(self) -> bool:
        """Whether any number has an interval."""
        return any(cell.interval for row in self.rows for cell in row.cells)
