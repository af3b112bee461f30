"""Which number of a column is the best and which the second.

Only methods compete, published ones and ours: the autoencoder's ceiling, real clips and copied frames tell what a
number means, they are no methods. A number that a footnote doubts does not compete, nor does one that is alone.
"""

from collections.abc import Sequence
from dataclasses import replace

from results.metrics import base
from results.tables.table import Column, Row


def ranked(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """The rows, with the rank of each number that may be compared; cells stand in the order of the columns."""
    ranks = [_ranks(rows, index, column) for index, column in enumerate(columns)]
    return [
        replace(row, cells=tuple(replace(cell, rank=ranks[i][place]) for i, cell in enumerate(row.cells)))
        for place, row in enumerate(rows)
    ]


def _ranks(rows: Sequence[Row], index: int, column: Column) -> list[int | None]:
    """Rank in one column for each row. Numbers are compared as they are shown, so that what looks equal is equal."""
    sign = -1 if base.find(column.metric).direction == "up" else 1
    shown = [_competing(row, index) for row in rows]
    competing = [sign * value for value in shown if value is not None]
    if len(competing) < 2:
        return [None] * len(rows)
    places = {value: rank for rank, value in enumerate(sorted(set(competing)), 1)}
    return [None if value is None else places[sign * value] for value in shown]


def _competing(row: Row, index: int) -> float | None:
    cell = row.cells[index]
    return None if row.kind == "reference" or cell.doubted or cell.value is None else float(cell.text)
