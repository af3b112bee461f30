"""The figure of the loss over clips seen, for white paper and for dark screens."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FormatStrFormatter, LogLocator, NullFormatter

from results.progress_curve import Curve
from vdt_hpc import pictures
from vdt_hpc.pictures import Theme


def loss_curve(curve: Curve, theme: Theme = pictures.LIGHT) -> Figure:
    """Training loss over clips seen, smoothed, with the validation loss and a mark at every restart.

    Args:
        curve: the log; at least one training point.
        theme: colours.
    """
    figure = pictures.figure(7.6, 3.3, theme)
    axes = figure.add_axes((0.09, 0.16, 0.89, 0.76))
    axes.plot(*_xy(curve.train), color=theme.blue, alpha=0.3, linewidth=0.9, label="training")
    axes.plot(*_xy(curve.smoothed()), color=theme.blue, linewidth=2, label="training, smoothed")
    if curve.validation:
        axes.plot(
            *_xy(curve.validation), color=pictures.ORANGE, marker="D", markersize=5, linewidth=1.2, linestyle="--",
            label="validation (averaged weights)",
        )  # fmt: skip
    for number, (clips_seen, partition) in enumerate(curve.restarts):
        axes.axvline(clips_seen, color=theme.faint, linewidth=1, linestyle=":", label=None if number else "restart")
        axes.annotate(
            partition, (clips_seen, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
            textcoords="offset points", color=theme.faint, size=7.5,
        )  # fmt: skip
    losses = [loss for _, loss in [*curve.train, *curve.validation]]
    if min(losses) > 0 and max(losses) > 4 * min(losses):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlabel("clips seen", color=theme.ink)
    axes.set_ylabel("loss", color=theme.ink)
    axes.set_facecolor("none")
    axes.tick_params(colors=theme.ink, which="both", labelsize=8.5)
    axes.grid(True, which="major", color=theme.faint, alpha=0.25, linewidth=0.6)
    for name, spine in axes.spines.items():
        spine.set_color(theme.faint)
        spine.set_visible(name in ("left", "bottom"))
    axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8.5)
    return figure


def _xy(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [clips for clips, _ in points], [loss for _, loss in points]
