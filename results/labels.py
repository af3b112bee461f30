"""Labels that never lie on each other: one that would is left out."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, Transform

_CLEARANCE_PX = 9.0  # letters are rounded to pixels, so a label may come out a little wider than it was measured


class Thinned:
    """Writes labels into a figure as long as there is room for them; those that come first have the first choice.

    Args:
        figure: its size and the limits of its axes must be final.
    """

    def __init__(self, figure: Figure) -> None:
        self._renderer = FigureCanvasAgg(figure).get_renderer()
        self._figure = figure
        self._taken: list[Bbox] = []
        self.num_left_out = 0

    def add(
        self, axes: Axes, text: str, place: tuple[float, float], *, offset: tuple[float, float],
        align: Literal["left", "right"], color: str, size: float, coords: str | Transform = "data",
    ) -> bool:  # fmt: skip
        """Write one label above a place, on one side of it, or on the other where the figure ends.

        Args:
            axes: what it belongs to.
            text: one line.
            place: in `coords`.
            offset: from there, in points; mirrored with the side.
            align: which edge of the text is at the place.
            color, size: of the text; the size in points.
            coords: as matplotlib's `xycoords`.

        Returns:
            Whether there was room.
        """
        for side in (align, "left" if align == "right" else "right"):
            dx = offset[0] if side == align else -offset[0]
            label = axes.annotate(
                text, place, xycoords=coords, xytext=(dx, offset[1]), textcoords="offset points", ha=side, va="bottom",
                color=color, size=size, annotation_clip=False,
            )  # fmt: skip
            box = label.get_window_extent(self._renderer)
            wide = Bbox.from_extents(box.x0 - _CLEARANCE_PX, box.y0, box.x1 + _CLEARANCE_PX, box.y1)
            inside = wide.x0 >= 0 and wide.x1 <= self._figure.bbox.width
            if inside and not any(wide.overlaps(other) for other in self._taken):
                self._taken.append(box)
                return True
            label.remove()
            if inside:
                break
        self.num_left_out += 1
        return False
