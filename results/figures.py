"""The figure of the training over clips seen, for white paper and for dark screens: loss, learning rate, speed."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FormatStrFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from results.labels import Thinned
from results.progress_curve import Curve
from vdt_hpc import pictures
from vdt_hpc.pictures import Theme

_WIDTH_IN, _LOSS_IN, _THIN_IN, _BETWEEN_IN, _TOP_IN, _FOOT_IN = 7.6, 2.6, 0.62, 0.14, 0.52, 0.5
_LEFT, _RIGHT = 0.09, 0.98
_MANY = 12
"""Restarts from which their marks are drawn finer, so that the curve stays in front."""


def loss_curve(curve: Curve, theme: Theme = pictures.LIGHT) -> Figure:
    """Loss over clips seen, smoothed, and below it the learning rate and the speed as far as the log has them.

    A restart is a dotted line, one on another partition a dashed line that says from where to where, if there is room.

    Args:
        curve: the log; at least one training point.
        theme: colours.
    """
    known = ((curve.lr, "learning\nrate"), (curve.clips_per_s, "clips/s"))
    thin = [(points, label) for points, label in known if len(points) > 1]
    height = _TOP_IN + _LOSS_IN + len(thin) * (_BETWEEN_IN + _THIN_IN) + _FOOT_IN
    figure = pictures.figure(_WIDTH_IN, height, theme)
    top = height - _TOP_IN - _LOSS_IN
    axes = figure.add_axes((_LEFT, top / height, _RIGHT - _LEFT, _LOSS_IN / height))
    panels = [axes]
    for points, label in thin:
        top -= _BETWEEN_IN + _THIN_IN
        panel = figure.add_axes((_LEFT, top / height, _RIGHT - _LEFT, _THIN_IN / height), sharex=axes)
        panel.plot(*_xy(points), color=theme.green, linewidth=1.2)
        panel.set_ylim(0, 1.12 * max(value for _, value in points) or 1)
        panel.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
        panel.yaxis.set_major_formatter(FuncFormatter(_short))
        panel.set_ylabel(label, color=theme.ink, size=8.5)
        panels.append(panel)
    _losses(axes, curve, theme)
    for panel in panels:
        _decorate(panel, theme, is_last=panel is panels[-1])
    figure.align_ylabels(panels)
    _restarts(figure, panels, curve, theme)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="upper left", bbox_to_anchor=(_LEFT - 0.01, 1), ncols=len(names), frameon=False,
        labelcolor=theme.ink, fontsize=8, handlelength=1.8, columnspacing=1.3,
    )  # fmt: skip
    return figure


def _losses(axes: Axes, curve: Curve, theme: Theme) -> None:
    axes.plot(*_xy(curve.train), color=theme.blue, alpha=0.3, linewidth=0.9, label="training")
    axes.plot(*_xy(curve.smoothed()), color=theme.blue, linewidth=2, label="training, smoothed")
    if curve.validation:
        axes.plot(
            *_xy(curve.validation), color=pictures.ORANGE, marker="D", markersize=5, linewidth=1.2, linestyle="--",
            label="validation (averaged weights)",
        )  # fmt: skip
    losses = [loss for _, loss in [*curve.train, *curve.validation]]
    if min(losses) > 0 and max(losses) > 4 * min(losses):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("loss", color=theme.ink, size=8.5)


def _restarts(figure: Figure, panels: Sequence[Axes], curve: Curve, theme: Theme) -> None:
    """Lines through all panels, and above them as many of the moves' labels as have room."""
    axes, labels = panels[0], Thinned(figure)
    width = 1.0 if len(curve.restarts) <= _MANY else 0.6
    named = set()
    for restart in curve.restarts:
        colour, style = (theme.ink, (0, (5, 2.5))) if restart.moved else (theme.faint, (0, (1, 2)))
        for panel in panels:
            line = panel.axvline(restart.clips_seen, color=colour, linewidth=width, linestyle=style, zorder=1)
            if panel is axes and restart.moved not in named:
                line.set_label("another partition" if restart.moved else "restart")
                named.add(restart.moved)
        if restart.moved:
            labels.add(
                axes, f"{restart.before} → {restart.partition}", (restart.clips_seen, 1), offset=(-2, 3), align="left",
                color=theme.ink, size=7.5, coords=axes.get_xaxis_transform(),
            )  # fmt: skip


def _decorate(axes: Axes, theme: Theme, is_last: bool) -> None:
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    pictures.plain(axes, theme)
    axes.tick_params(labelbottom=is_last)
    if is_last:
        axes.set_xlabel("clips seen", color=theme.ink, size=8.5)


def _xy(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [clips for clips, _ in points], [value for _, value in points]


def _short(value: float, _: int | None) -> str:
    """A tick of a thin panel: 0.0001 as 1e-4, which leaves room for the axis' name."""
    return f"{value:g}" if value == 0 or value >= 0.01 else f"{value:.0e}".replace("e-0", "e-")
