"""The figure of a run's course in time: a lane for each partition, a bar for each job, coloured by how it ended."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from results import course
from results.course import Part
from results.labels import Thinned
from vdt_hpc import pictures
from vdt_hpc.pictures import Theme

_VERMILION = "#D55E00"
_WIDTH_IN, _LANE_IN, _REST_IN = 7.6, 0.52, 0.86
_BAR = 0.36
"""Height of a bar, in lanes."""


def timeline(parts: Sequence[Part], theme: Theme = pictures.LIGHT) -> Figure:
    """Draw the course of a run.

    A bar is hatched and open where nobody noted the job's end: between the last line that it left in the training log
    and the next job's start. Dotted lines lead over the time between two jobs. Numbers are clips seen.

    Args:
        parts: one at least.
        theme: colours.
    """
    lanes = list(dict.fromkeys(part.lane for part in parts))
    height = _REST_IN + _LANE_IN * len(lanes)
    figure = pictures.figure(_WIDTH_IN, height, theme)
    left = min(0.3, 0.03 + 0.0105 * max(map(len, lanes)))
    axes = figure.add_axes((left, 0.52 / height, 0.98 - left, _LANE_IN * len(lanes) / height))
    colours = {
        course.COMPLETE: theme.green, course.STOPPED: theme.blue, course.CRASHED: _VERMILION,
        course.LOST: pictures.ORANGE, course.OPEN: theme.faint,
    }  # fmt: skip
    first = min(part.start for part in parts)
    last = max(max(part.at_least, part.at_most or part.at_least) for part in parts)
    last = max(last, first + timedelta(seconds=60))
    margin = (last - first) / 40
    axes.set_xlim(_day(first - margin), _day(last + margin))
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    for before, after in itertools.pairwise(parts):
        ends = [_day(before.at_most or before.at_least), _day(after.start)]
        axes.plot(
            ends, [lanes.index(before.lane), lanes.index(after.lane)], color=theme.faint, linewidth=1, linestyle=":"
        )
    for part in parts:
        _bar(axes, part, lanes.index(part.lane), colours[part.how])
    _clips(figure, axes, parts, lanes, theme)
    _decorate(axes, lanes, theme)
    used = [how for how in course.HOW if any(part.how == how for part in parts)]
    patches = [Patch(color=colours[how], label=course.HOW[how]) for how in used]
    if any(part.end is None and part.at_most for part in parts):
        patches.append(Patch(fill=False, ec=theme.ink, hatch="////", linewidth=0, label="ended in between"))
    figure.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(left - 0.01, 1), ncols=len(patches), frameon=False,
        labelcolor=theme.ink, fontsize=8, handlelength=1.2, handleheight=0.8, columnspacing=1.4,
    )  # fmt: skip
    return figure


def _bar(axes: Axes, part: Part, lane: int, colour: str) -> None:
    start = _day(part.start)
    axes.barh(lane, _day(part.at_least) - start, _BAR, left=start, color=colour, ec=colour, linewidth=0.8)
    if part.end is None and part.at_most:
        width = _day(part.at_most) - _day(part.at_least)
        axes.barh(
            lane, width, _BAR, left=_day(part.at_least), fill=False, ec=colour, hatch="/////", linewidth=0.8
        )  # fmt: skip


def _clips(figure: Figure, axes: Axes, parts: Sequence[Part], lanes: Sequence[str], theme: Theme) -> None:
    """Clips seen above the end of each bar, as many as have room; the last one first."""
    labels = Thinned(figure)
    for part in reversed(parts):
        end = part.at_most or part.at_least
        labels.add(
            axes, f"{part.last_clips:,}", (_day(end), lanes.index(part.lane) - _BAR / 2), offset=(0, 2.5),
            align="right", color=theme.ink, size=7,
        )  # fmt: skip


def _decorate(axes: Axes, lanes: Sequence[str], theme: Theme) -> None:
    pictures.plain(axes, theme, sides=("bottom",))
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(lanes)), lanes)
    locator = dates.AutoDateLocator(tz=timezone.utc, minticks=3, maxticks=8)
    formatter = dates.ConciseDateFormatter(locator, tz=timezone.utc, show_offset=True)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.get_offset_text().set(color=theme.ink, size=8)
    axes.set_xlabel("UTC", color=theme.ink, size=8.5)
    axes.tick_params(axis="y", length=0)


def _day(moment: datetime) -> float:
    return float(dates.date2num(moment))
