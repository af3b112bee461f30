"""The figure of quality over the index of the frame: a panel for each metric, a line for each row of the table."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results.by_frame import ByFrame
from results.metrics import base
from results.subjects import AUTOENCODER, COPY, MODEL, REAL
from vdt_hpc import pictures
from vdt_hpc.pictures import Theme

_PANEL_IN, _WIDTH_IN = 2.0, 7.6
_NAMES = {
    MODEL: "model", COPY: "nothing moves", AUTOENCODER: "autoencoder (ceiling)", REAL: "real against real",
}  # fmt: skip
_DASHES = {MODEL: "-", COPY: "--", AUTOENCODER: "-.", REAL: ":"}


def draw(measured: ByFrame, theme: Theme = pictures.LIGHT) -> Figure:
    """Draw what was measured at each frame; given frames are gaps.

    Args:
        measured: at least one metric.
        theme: colours.
    """
    names = list(measured.curves)
    figure = pictures.figure(_WIDTH_IN, _PANEL_IN * len(names) + 0.5, theme)
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    colours = {MODEL: theme.blue, COPY: pictures.ORANGE, AUTOENCODER: theme.ink, REAL: theme.faint}
    frames = np.arange(measured.info.num_frames)
    for axes, name in zip(panels, names, strict=True):
        metric = base.find(name)
        for subject, values in measured.curves[name].items():
            line = np.full(len(frames), np.nan)
            line[list(measured.info.generated)] = values
            axes.plot(
                frames, line, _DASHES[subject], color=colours[subject], label=_NAMES[subject], marker=".",
                linewidth=2 if subject == MODEL else 1.2, markersize=5 if subject == MODEL else 3,
            )  # fmt: skip
        axes.set_ylabel(metric.heading, color=theme.ink)
        pictures.plain(axes, theme)
    panels[-1].set_xlabel("frame", color=theme.ink)
    panels[-1].set_xlim(-0.5, len(frames) - 0.5)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=4, frameon=False, labelcolor=theme.ink, fontsize=8.5)
    figure.subplots_adjust(left=0.11, right=0.985, bottom=0.5 / figure.get_figheight(), hspace=0.14,
                           top=1 - 0.36 / figure.get_figheight())  # fmt: skip
    return figure
