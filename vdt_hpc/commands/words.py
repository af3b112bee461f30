"""How the front doors say times, amounts and tables, in lines that fit."""

import textwrap
from collections.abc import Sequence
from datetime import datetime, timedelta

_NOW_S = 5.0
_UNITS_S = ((86400, "d"), (3600, "h"), (60, "min"))


def span(seconds: float) -> str:
    """A time in the largest unit of which it has at least two, such as `36 h`."""
    for size, unit in _UNITS_S:
        if seconds >= 1.995 * size:  # a hair less than 2 h is no 120 min
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def moment(wait_s: float | None) -> str:
    """When something starts: `now`, `in 3 h`; a queue's `now` may be some seconds away, and None is unknown."""
    if wait_s is None:
        return "at an unknown time"
    return "now" if wait_s < _NOW_S else f"in {span(wait_s)}"


def amount(num_bytes: float) -> str:
    """A number of bytes in GB, or in MB where it is less than one."""
    return f"{num_bytes / 1e9:.3g} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.3g} MB"


def columns(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows of equally many cells as aligned lines; the last column is as wide as it likes."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) if rows else 0)]
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def age(moment: datetime) -> str:
    """How long ago something was."""
    return span((now() - moment).total_seconds())


def when(moment: datetime) -> str:
    """A moment on this machine's clock, as short as it can be told: `14:30`, `Wed 14:30`, `2026-11-25 14:30`."""
    local = moment.astimezone()
    if local.date() == now().date():
        return f"{local:%H:%M}"
    if abs(local - now()) < timedelta(days=6):
        return f"{local:%a %H:%M}"
    return f"{local:%Y-%m-%d %H:%M}"


def now() -> datetime:
    """This moment, with the zone of this machine."""
    return datetime.now().astimezone()


def short(count: float) -> str:
    """A count in at most five characters: `960`, `9.60k`, `1.23M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            value = count / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{unit}"
    return f"{count:.0f}"


def speed(per_s: float) -> str:
    """A number per second to three digits, or to one where there are more before the point."""
    return f"{per_s:.3g}" if per_s < 999.5 else f"{per_s:,.0f}"


def wrapped(text: str, columns: int, indent: str) -> list[str]:
    """A text on as many lines as it takes; the first begins as it does, the others with an indent."""
    return textwrap.wrap(text, max(columns, len(indent) + 20), subsequent_indent=indent, break_on_hyphens=False) or [""]


def fitted(text: str, columns: int) -> str:
    """A text cut to a width; the cut is shown."""
    if len(text) <= columns:
        return text
    return text[: max(0, columns - 3)].rstrip() + "..."[: max(0, columns)]
