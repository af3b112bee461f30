"""How numbers and moments are written for people: spans, local times, clips, lines that fit."""

import textwrap
from datetime import datetime, timedelta

_UNITS_S = ((86400, "d"), (3600, "h"), (60, "min"))


def span(seconds: float) -> str:
    """A length of time in the largest unit of which there are two: `45 s`, `3.5 min`, `17 h`."""
    for size_s, unit in _UNITS_S:
        if seconds >= 2 * size_s:
            count = seconds / size_s
            return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


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


def wrapped(text: str, columns: int, indent: str) -> list[str]:
    """A text on as many lines as it takes; the first begins as it does, the others with an indent."""
    return textwrap.wrap(text, max(columns, len(indent) + 20), subsequent_indent=indent, break_on_hyphens=False) or [""]


def fitted(text: str, columns: int) -> str:
    """A text cut to a width; the cut is shown."""
    if len(text) <= columns:
        return text
    return text[: max(0, columns - 3)].rstrip() + "..."[: max(0, columns)]
