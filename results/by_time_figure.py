"""The figure of quality over sampling time: a panel for each metric, a line for each sampler on each device."""

import itertools

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from results import wording
from results.by_time import ByTime, Way
from results.labels import Thinned
from results.metrics import base
from vdt_hpc import pictures
from vdt_hpc.pictures import Theme

_WIDTH_IN, _PANEL_IN, _TOP_IN, _FOOT_IN, _BETWEEN_IN = 7.6, 1.75, 0.42, 0.5, 0.16
_LEFT, _RIGHT = 0.11, 0.98
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")


def draw(measured: ByTime, theme: Theme = pictures.LIGHT) -> Figure:
    """Draw what each way to sample cost and gave; numbers at the points are the steps, whiskers the intervals.

    Args:
        measured: one metric at least.
        theme: colours.
    """
    names = measured.metrics
    height = _TOP_IN + len(names) * (_PANEL_IN + _BETWEEN_IN) - _BETWEEN_IN + _FOOT_IN
    figure = pictures.figure(_WIDTH_IN, height, theme)
    lines = lines_of(measured)
    colours = dict(zip(lines, itertools.cycle((theme.blue, pictures.ORANGE, theme.green, theme.ink)), strict=False))
    markers = dict(zip(lines, itertools.cycle(_MARKERS), strict=False))
    panels: list[Axes] = []
    for number, name in enumerate(names):
        bottom = height - _TOP_IN - _PANEL_IN - number * (_PANEL_IN + _BETWEEN_IN)
        place = (_LEFT, bottom / height, _RIGHT - _LEFT, _PANEL_IN / height)
        axes = figure.add_axes(place, sharex=panels[0] if panels else None)
        for line, ways in lines.items():
            _line(axes, line, [way for way in ways if name in way.records], name, colours[line], markers[line])
        if name in measured.ceiling:
            label = "autoencoder (ceiling)"
            axes.axhline(measured.ceiling[name], color=theme.faint, linestyle="-.", linewidth=1.1, label=label)
        metric = base.find(name)
        axes.set_ylabel(metric.heading, color=theme.ink, size=8.5)
        pictures.plain(axes, theme)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(labelbottom=number == len(names) - 1)
        panels.append(axes)
    _time_axis(panels, measured, theme)
    _steps(figure, panels, measured, theme)
    figure.align_ylabels(panels)
    entries = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        entries.values(), entries.keys(), loc="upper left", bbox_to_anchor=(_LEFT - 0.01, 1), frameon=False,
        ncols=min(4, len(entries)), labelcolor=theme.ink, fontsize=8, handlelength=2.2, columnspacing=1.4,
    )  # fmt: skip
    return figure


def lines_of(measured: ByTime) -> dict[str, list[Way]]:
    """The ways that make a line: one sampler on one device, which is named where there are several."""
    several = len({way.device for way in measured.ways}) > 1
    lines: dict[str, list[Way]] = {}
    for way in measured.ways:
        lines.setdefault(f"{wording.SAMPLERS[way.sampler]}{f', {way.device}' if several else ''}", []).append(way)
    return lines


def _line(axes: Axes, label: str, ways: list[Way], name: str, colour: str, marker: str) -> None:
    seconds = [way.seconds for way in ways]
    values = [way.value(name) for way in ways]
    axes.plot(seconds, values, color=colour, marker=marker, markersize=5, linewidth=1.4, label=label)
    for way in ways:
        record = way.records[name]
        if record.interval_low is not None and record.interval_high is not None:
            axes.vlines(way.seconds, record.interval_low, record.interval_high, color=colour, alpha=0.5, linewidth=1)


def _time_axis(panels: list[Axes], measured: ByTime, theme: Theme) -> None:
    """Seconds on a logarithmic axis, with room at both ends: as many steps more cost as many times the time."""
    axes = panels[-1]
    low, high = measured.ways[0].seconds, measured.ways[-1].seconds
    axes.set_xscale("log")
    axes.set_xlim(low / 1.35, high * 1.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds per sample", color=theme.ink, size=8.5)


def _steps(figure: Figure, panels: list[Axes], measured: ByTime, theme: Theme) -> None:
    """The number of steps at each point of each panel, as far as there is room."""
    labels = Thinned(figure)
    for axes, name in zip(panels, measured.metrics, strict=True):
        for way in measured.ways:
            if name in way.records:
                place = (way.seconds, way.value(name))
                labels.add(axes, f"{way.num_steps}", place, offset=(4, 3), align="left", color=theme.ink, size=7.5)
