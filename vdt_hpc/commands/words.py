"""How the front doors say times, amounts and tables."""

from collections.abc import Sequence

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
