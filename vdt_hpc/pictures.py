"""How this program draws: film strips, and what every figure shares (colours, ground, bytes that repeat).

Everything goes through matplotlib's objects; its global state and its windows are never touched. Importing this module
imports neither matplotlib nor pillow; drawing does.
Legend: T frames, H x W pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vdt_hpc import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
Edge = tuple[tuple[float, float], tuple[float, float]]
"""A line from (x, y) to (x, y), in shares of a frame's width and height."""

ORANGE = "#E69F00"  # orange, blue and green of Okabe and Ito's palette, which colour-blind people tell apart
STRIP_FRAMES = 12
_DPI = 160
_LABEL, _CELL, _GAP, _BETWEEN, _HEAD, _FOOT = 116, 124, 7, 20, 40, 40  # pixels of a film strip


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
    given: Collection[int]
    """Indices of the frames that get an orange border."""
    blocks: BoolArray | None = None
    """(h, w), True for the cells that are given in all other frames; they get an orange outline. None: none is."""


def strip_indices(num_frames: int, given: Collection[int], num_shown: int = STRIP_FRAMES) -> list[int]:
    """Indices of the frames that a strip shows: given ones, three at most, and others, spread evenly.

    Of more than three given frames: the first, the last, and of those between the nearest to the middle of the clip.
    """
    if num_frames <= num_shown:
        return list(range(num_frames))
    shown = sorted(given)
    if len(shown) > 3:
        middle = min(shown[1:-1], key=lambda index: abs(2 * index - (num_frames - 1)))
        shown = [shown[0], middle, shown[-1]]
    others = [index for index in range(num_frames) if index not in given]
    places = np.linspace(0, len(others) - 1, min(num_shown - len(shown), len(others)))
    return sorted([*shown, *(others[round(float(place))] for place in places)])


def film_strip(groups: Sequence[Sequence[StripRow]], theme: Theme = LIGHT, title: str = "") -> Figure:
    """A film strip like those of papers: groups of rows, frame numbers beneath, given frames in orange.

    Args:
        groups: rows that belong together (truth above, sample below); all frames have one size. A row that has fewer
            than the longest stays empty from there.
        theme: colours.
        title: one line above all rows; empty: none, and no room for it.
    """
    from PIL import Image

    rows = [row for group in groups for row in group]
    height, width = rows[0].frames.shape[1:3]
    num_frames = max(len(row.frames) for row in rows)
    indices = strip_indices(num_frames, {index for row in rows for index in row.given})
    cell_h = round(_CELL * height / width)
    top = _HEAD if title else 0
    total_w = _LABEL + len(indices) * (_CELL + _GAP)
    total_h = top + len(rows) * (cell_h + _GAP) + (len(groups) - 1) * _BETWEEN + _FOOT
    strip = figure(total_w / _DPI, total_h / _DPI, theme)
    axes = strip.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    # One picture for all frames: some hundred axes would take matplotlib many seconds.
    canvas = Image.new("RGBA", (total_w, total_h))
    if title:
        axes.text(10, _HEAD / 2, title, va="center", color=theme.ink, size=9)
    for group in groups:
        for row in group:
            axes.text(10, top + cell_h / 2, row.label, va="center", color=theme.ink, size=8.5)
            for column, index in enumerate(indices):
                if index >= len(row.frames):
                    break
                left = _LABEL + column * (_CELL + _GAP)
                frame = Image.fromarray(row.frames[index]).resize((_CELL, cell_h), Image.Resampling.LANCZOS)
                canvas.paste(frame, (left, top))
                if index in row.given:
                    _border(axes, left, top, cell_h)
                elif row.blocks is not None:
                    _outline(axes, left, top, cell_h, row.blocks)
            top += cell_h + _GAP
        top += _BETWEEN
    for column, index in enumerate(indices):
        centre = _LABEL + column * (_CELL + _GAP) + _CELL / 2
        axes.text(centre, total_h - 14, str(index), ha="center", color=theme.faint, size=8)
    axes.text(10, total_h - 14, "frame", color=theme.faint, size=8)
    axes.imshow(np.asarray(canvas), interpolation="none", extent=(0, total_w, total_h, 0), aspect="auto")
    return strip


def _border(axes: Axes, left: int, top: int, cell_h: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((left + 2, top + 2), _CELL - 4, cell_h - 4, fill=False, ec=ORANGE, lw=2.4))


def _outline(axes: Axes, left: int, top: int, cell_h: int, blocks: BoolArray) -> None:
    from matplotlib.collections import LineCollection

    edges = [[(left + x * _CELL, top + y * cell_h) for x, y in edge] for edge in outline(blocks)]
    axes.add_collection(LineCollection(edges, colors=ORANGE, linewidths=1.3, capstyle="projecting"))


def outline(blocks: BoolArray, inset: float = 0.12) -> list[Edge]:
    """The edges of the True cells where they border on False ones or on the frame's rim.

    Args:
        blocks: (h, w).
        inset: by how much of a cell they lie inside the True ones, so that one sees which side is meant.
    """
    height, width = blocks.shape
    padded = np.pad(blocks, 1)
    edges: list[Edge] = []
    for row, column in np.argwhere(blocks):
        around = padded[row : row + 3, column : column + 3]
        # Along its edge a line reaches to the next cell's, or, at a corner, only to the line that it meets there.
        x0, x1 = column + inset * (not around[1, 0]), column + 1 - inset * (not around[1, 2])
        y0, y1 = row + inset * (not around[0, 1]), row + 1 - inset * (not around[2, 1])
        sides = (
            (around[0, 1], (x0, row + inset), (x1, row + inset)),
            (around[2, 1], (x0, row + 1 - inset), (x1, row + 1 - inset)),
            (around[1, 0], (column + inset, y0), (column + inset, y1)),
            (around[1, 2], (column + 1 - inset, y0), (column + 1 - inset, y1)),
        )
        edges += [
            ((start[0] / width, start[1] / height), (end[0] / width, end[1] / height))
            for is_inside, start, end in sides
            if not is_inside
        ]
    return edges


def figure(width_in: float, height_in: float, theme: Theme) -> Figure:
    """An empty figure of a size in inches, at 160 pixels per inch, on the theme's ground."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), facecolor=theme.ground)


def plain(axes: Axes, theme: Theme, sides: Collection[str] = ("left", "bottom")) -> None:
    """Give a panel what all curves share: no ground of its own, a faint grid, lines at some sides alone."""
    axes.set_facecolor("none")
    axes.tick_params(colors=theme.ink, which="both", labelsize=8.5)
    axes.grid(True, which="major", color=theme.faint, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_color(theme.faint)
        spine.set_visible(name in sides)


def save(drawn: Figure, path: Path, kinds: Sequence[str] = ("png", "pdf")) -> None:
    """Write a figure as files beside each other, each finished by rename.

    Args:
        drawn: what to write.
        path: path without a suffix.
        kinds: suffixes, of `png` and `pdf`.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    for kind in kinds:
        with files.finish(path.with_name(f"{path.name}.{kind}")) as temporary:
            temporary.write_bytes(_bytes(drawn, kind))


def webp(drawn: Figure) -> bytes:
    """A figure as the bytes of a WebP picture, a third of the PNG's size, for the page."""
    return _bytes(drawn, "webp")


@dataclass(frozen=True)
class Picture:
    """A figure as a page shows it."""

    light: bytes
    """WebP, for light screens."""
    dark: bytes
    """WebP, for dark screens."""


def draw(figure_of: Callable[[Theme], Figure], path: Path) -> Picture:
    """Write a figure as PNG and PDF files beside each other, and keep it for a page.

    Args:
        figure_of: draws it in the colours of a theme.
        path: path of the files without a suffix.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    drawn = figure_of(LIGHT)
    save(drawn, path)
    return Picture(webp(drawn), webp(figure_of(DARK)))


def _bytes(drawn: Figure, suffix: str) -> bytes:
    import matplotlib as mpl

    buffer = io.BytesIO()
    options: dict[str, dict[str, Any]] = {  # without dates, the same records give the same bytes
        "png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 4}},
        "pdf": {"metadata": {"CreationDate": None}},
        "webp": {"pil_kwargs": {"quality": 90, "method": 2}},
    }
    with mpl.rc_context({"pdf.fonttype": 42}):  # letters as letters, not as outlines
        drawn.savefig(buffer, format=suffix, dpi=_DPI, **options[suffix])
    return buffer.getvalue()
