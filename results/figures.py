"""Figures: film strips and the loss curve, for white paper and for dark screens.

Everything goes through matplotlib's objects; its global state and its windows are never touched.
Legend: T frames, H x W pixels, K trajectories.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, FormatStrFormatter, LogLocator, NullFormatter
from PIL import Image

from results.progress_curve import Curve
from vdt_hpc import files
from vdt_hpc.store.samples import ByteArray

ORANGE = "#E69F00"  # orange, blue and green of Okabe and Ito's palette, which colour-blind people tell apart
STRIP_FRAMES = 12
_DPI = 160


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; the ground is transparent on dark screens and white on paper."""

    ink: str
    faint: str
    ground: str
    blue: str
    green: str


LIGHT = Theme(ink="#1c1e21", faint="#8a8f98", ground="#ffffff", blue="#0072B2", green="#009E73")
DARK = Theme(ink="#e4e6ea", faint="#7d838c", ground="none", blue="#56B4E9", green="#2FC79A")


@dataclass(frozen=True)
class StripRow:
    """One row of a film strip."""

    label: str
    frames: ByteArray
    """(T, H, W, 3) uint8."""
    given_frames: int
    """Frames at the start that get an orange border."""


def strip_indices(num_frames: int, given_frames: int, num_shown: int = STRIP_FRAMES) -> list[int]:
    """Indices of the frames that a strip shows: the given ones (three at most), then evenly spread to the end."""
    if num_frames <= num_shown:
        return list(range(num_frames))
    first = [0, *range(max(1, given_frames - 2), given_frames)] if given_frames > 3 else list(range(given_frames))
    rest = np.linspace(given_frames, num_frames - 1, num_shown - len(first))
    return [*first, *(round(float(index)) for index in rest)]


def film_strip(groups: Sequence[Sequence[StripRow]], theme: Theme = LIGHT) -> Figure:
    """A film strip like those of papers: groups of rows, frame numbers beneath, given frames in orange.

    Args:
        groups: rows that belong together (truth above, sample below); all rows have T frames of one size.
        theme: colours.
    """
    rows = [row for group in groups for row in group]
    num_frames, height, width = rows[0].frames.shape[:3]
    indices = strip_indices(num_frames, max(row.given_frames for row in rows))
    label, cell, gap, between, foot = 116, 124, 7, 20, 40  # pixels of the figure
    cell_h = round(cell * height / width)
    total_w = label + len(indices) * (cell + gap)
    total_h = len(rows) * (cell_h + gap) + (len(groups) - 1) * between + foot
    figure = _figure(total_w / _DPI, total_h / _DPI, theme)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    # One picture for all frames: some hundred axes would take matplotlib many seconds.
    canvas = Image.new("RGBA", (total_w, total_h))
    top = 0
    for group in groups:
        for row in group:
            axes.text(10, top + cell_h / 2, row.label, va="center", color=theme.ink, size=8.5)
            for column, index in enumerate(indices):
                left = label + column * (cell + gap)
                frame = Image.fromarray(row.frames[index]).resize((cell, cell_h), Image.Resampling.LANCZOS)
                canvas.paste(frame, (left, top))
                if index < row.given_frames:
                    border = Rectangle((left + 2, top + 2), cell - 4, cell_h - 4, fill=False, ec=ORANGE, lw=2.4)
                    axes.add_patch(border)
            top += cell_h + gap
        top += between
    for column, index in enumerate(indices):
        centre = label + column * (cell + gap) + cell / 2
        axes.text(centre, total_h - 14, str(index), ha="center", color=theme.faint, size=8)
    axes.text(10, total_h - 14, "frame", color=theme.faint, size=8)
    axes.imshow(np.asarray(canvas), interpolation="none", extent=(0, total_w, total_h, 0), aspect="auto")
    return figure


def loss_curve(curve: Curve, theme: Theme = LIGHT) -> Figure:
    """Training loss over clips seen, smoothed, with the validation loss and a mark at every restart.

    Args:
        curve: the log; at least one training point.
        theme: colours.
    """
    figure = _figure(7.6, 3.3, theme)
    axes = figure.add_axes((0.09, 0.16, 0.89, 0.76))
    axes.plot(*_xy(curve.train), color=theme.blue, alpha=0.3, linewidth=0.9, label="training")
    axes.plot(*_xy(curve.smoothed()), color=theme.blue, linewidth=2, label="training, smoothed")
    if curve.validation:
        axes.plot(
            *_xy(curve.validation), color=ORANGE, marker="D", markersize=5, linewidth=1.2, linestyle="--",
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


def _figure(width_in: float, height_in: float, theme: Theme) -> Figure:
    return Figure(figsize=(width_in, height_in), facecolor=theme.ground)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and PDF beside each other, each finished by rename.

    Args:
        figure: what to write.
        path: path without a suffix.
    """
    for suffix in ("png", "pdf"):
        with files.finish(path.with_suffix(f".{suffix}")) as temporary:
            temporary.write_bytes(_bytes(figure, suffix))


def webp(figure: Figure) -> bytes:
    """A figure as the bytes of a WebP picture, a third of the PNG's size, for the page."""
    return _bytes(figure, "webp")


def _bytes(figure: Figure, suffix: str) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, dict[str, Any]] = {  # without dates, the same records give the same bytes
        "png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 4}},
        "pdf": {"metadata": {"CreationDate": None}},
        "webp": {"pil_kwargs": {"quality": 90, "method": 2}},
    }
    with mpl.rc_context({"pdf.fonttype": 42}):  # letters as letters, not as outlines
        figure.savefig(buffer, format=suffix, dpi=_DPI, **options[suffix])
    return buffer.getvalue()
