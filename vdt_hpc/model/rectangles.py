"""Random rectangles that cover half of a latent: the blocks of spatial-temporal completion.

The law is that of blockwise masking in BEiT (arXiv 2106.08254, algorithm 1), with a smallest area of 4 cells and half
of the cells as the aim.
"""

import math

import numpy as np
import numpy.typing as npt

MIN_AREA_CELLS = 4
MIN_ASPECT = 0.3
"""Height over width lies between this and its inverse, uniform in the logarithm."""
MAX_MISSES = 10
"""Rectangles in a row that do not fit, after which what is covered is enough."""


def half(rng: np.random.Generator, cells: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Cells under random rectangles, at most half of all and at least one.

    A rectangle's area is uniform from 4 cells to what is left to cover; it counts if it covers something new, and no
    more than is left. A few cells may stay uncovered, for want of a rectangle that fits.

    Args:
        rng: what is drawn from.
        cells: (h, w), at least 2 cells.

    Returns:
        (h, w), True under a rectangle.
    """
    height, width = cells
    aim = height * width // 2
    assert aim, cells
    covered = np.zeros(cells, np.bool_)
    misses = 0
    while not covered.any() or (misses < MAX_MISSES and covered.sum() < aim):
        left = aim - int(covered.sum())
        place = _rectangle(rng, cells, min(MIN_AREA_CELLS, aim), left)
        num_new = int((~covered[place]).sum())
        fits = 0 < num_new <= left
        misses = 0 if fits else misses + 1
        if fits:
            covered[place] = True
    return covered


def _rectangle(rng: np.random.Generator, cells: tuple[int, int], min_area: int, max_area: int) -> tuple[slice, slice]:
    """Rows and columns of a random rectangle; its sides are rounded and cut to the latent's."""
    area = rng.uniform(min_area, max(min_area, max_area))
    aspect = math.exp(rng.uniform(math.log(MIN_ASPECT), -math.log(MIN_ASPECT)))
    sides = (math.sqrt(area * aspect), math.sqrt(area / aspect))
    rows, columns = (min(max(round(side), 1), most) for side, most in zip(sides, cells, strict=True))
    top, left = int(rng.integers(cells[0] - rows + 1)), int(rng.integers(cells[1] - columns + 1))
    return slice(top, top + rows), slice(left, left + columns)
