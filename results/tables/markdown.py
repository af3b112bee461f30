"""Tables as Markdown, for people who read files."""

from collections.abc import Sequence

from results.tables.table import RANKED, Cell, Row, Table


def to_markdown(tables: Sequence[Table]) -> str:
    """All tables, each with its footnotes."""
    return "\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    if not table.columns:  # no metric applies, as the remarks say
        return "\n".join([f"## {table.title}", "", *(line for remark in table.remarks for line in (remark, ""))])
    header = ["Method", *(f"{column.conditions}: {column.label}" for column in table.columns)]
    lines = [f"## {table.title}", "", _line(header), _line([":--", *("--:" for _ in table.columns)])]
    lines += [_line([_name(row), *map(_cell, row.cells)]) for row in table.rows]
    legend = ["Brackets: 95 % bootstrap interval over clips."] if table.has_intervals else []
    legend += [f"**Bold**: best of its column; <u>underlined</u>: second. {RANKED}"] if table.is_ranked else []
    lines += ["", *([" ".join(legend), ""] if legend else [])]
    lines += [f"{number}. {text}" for number, text in enumerate(table.footnotes, 1)]
    lines += ["", *(line for remark in table.remarks for line in (remark, ""))]
    return "\n".join(lines)


def _name(row: Row) -> str:
    label = f"**{row.label}**" if row.kind == "model" else row.label
    return f"{label} ({row.detail}){_mark(row.footnote)}"


def _cell(cell: Cell) -> str:
    number = {1: f"**{cell.text}**", 2: f"<u>{cell.text}</u>"}.get(cell.rank or 0, cell.text)
    return number + (f" [{cell.interval}]" if cell.interval else "") + _mark(cell.footnote)


def _mark(footnote: int | None) -> str:
    return f" ({footnote})" if footnote else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
