"""Houses, trees and lamp posts, as polygons in road coordinates (see ``street_mesh``).

``side`` is -1 for the left and +1 for the right of the road. Colours are RGB in [0, 1].
"""

from __future__ import annotations

import numpy as np

from preprocess.street_mesh import Array, MeshBuilder

Corner = tuple[float, float, float]

WALLS = np.array(
    [
        [0.86, 0.80, 0.68], [0.80, 0.66, 0.48], [0.66, 0.40, 0.32], [0.74, 0.74, 0.72], [0.66, 0.74, 0.80],
        [0.90, 0.88, 0.84], [0.78, 0.56, 0.44], [0.70, 0.76, 0.64], [0.84, 0.72, 0.70], [0.58, 0.54, 0.52],
        [0.92, 0.84, 0.62], [0.52, 0.34, 0.28],
    ]
)  # fmt: skip
ROOFS = np.array([[0.50, 0.26, 0.20], [0.36, 0.34, 0.36], [0.42, 0.30, 0.24], [0.30, 0.32, 0.36]])
CARS = np.array(
    [
        [0.88, 0.88, 0.88], [0.16, 0.17, 0.19], [0.60, 0.62, 0.65], [0.66, 0.12, 0.12], [0.14, 0.26, 0.52],
        [0.40, 0.43, 0.46], [0.80, 0.66, 0.22], [0.18, 0.40, 0.34], [0.82, 0.46, 0.20],
    ]
)  # fmt: skip
LEAVES = np.array([[0.24, 0.38, 0.16], [0.32, 0.44, 0.18], [0.20, 0.32, 0.18], [0.52, 0.44, 0.16], [0.56, 0.34, 0.14]])
GLASS = np.array([0.20, 0.25, 0.31])


def vary(rng: np.random.Generator, palette: Array, amount: float) -> Array:
    """A colour of the palette, a little lighter, darker or tinted."""
    colour = palette[rng.integers(len(palette))]
    return np.clip(colour * (1.0 + rng.uniform(-amount, amount)) + rng.uniform(-0.03, 0.03, 3), 0.02, 1.0)


def wall_quad(d_m: float, s0: float, s1: float, h0: float, h1: float) -> list[Corner]:
    """A rectangle parallel to the road."""
    return [(s0, d_m, h0), (s1, d_m, h0), (s1, d_m, h1), (s0, d_m, h1)]


def cross_quad(s_m: float, d0: float, d1: float, h0: float, h1: float) -> list[Corner]:
    """A rectangle across the road."""
    return [(s_m, d0, h0), (s_m, d1, h0), (s_m, d1, h1), (s_m, d0, h1)]


def _openings(
    builder: MeshBuilder, rng: np.random.Generator, side: int, d_m: float, s0: float, s1: float, wall: Array,
    num_floors: int, floor_m: float, key_m: float,
) -> None:  # fmt: skip
    """Windows in rows, and a door or a shop front, on the wall that faces the road."""
    num_bays = max(2, round((s1 - s0) / rng.uniform(2.6, 3.6)))
    bay_m = (s1 - s0) / num_bays
    width_m, height_m = bay_m * rng.uniform(0.36, 0.52), floor_m * rng.uniform(0.46, 0.58)
    glass = 0.85 * GLASS * rng.uniform(0.8, 1.7) + 0.15 * wall
    lit = np.array([1.30, 1.05, 0.62])
    frame = np.clip(wall * 1.25 + 0.06, 0, 1)
    has_frames = rng.random() < 0.5
    shop = rng.random() < 0.3
    door_bay = int(rng.integers(num_bays))
    normal = (0.0, -side, 0.0)
    if shop:
        sign = vary(rng, CARS, 0.2)
        builder.add(wall_quad(side * d_m, s0 + 0.4, s1 - 0.4, 0.4, floor_m * 0.78), glass, key_m=key_m, normal=normal)
        band = wall_quad(side * d_m, s0 + 0.2, s1 - 0.2, floor_m * 0.80, floor_m * 0.98)
        builder.add(band, sign, key_m=key_m, normal=normal, behind=wall, detail_m=1.2)
    for floor in range(1 if shop else 0, num_floors):
        for bay in range(num_bays):
            middle, low = s0 + (bay + 0.5) * bay_m, floor * floor_m + 0.28 * floor_m
            high = low + height_m
            colour = glass
            if floor == 0 and bay == door_bay:
                low, high, colour = 0.1, floor_m * 0.76, ROOFS[bay % len(ROOFS)]
            elif rng.random() < builder.light.lamps:
                colour = lit
            left, right = middle - width_m / 2, middle + width_m / 2
            if has_frames:
                outer = wall_quad(side * d_m, left - 0.18, right + 0.18, low - 0.18, high + 0.18)
                builder.add(outer, frame, key_m=key_m, normal=normal, behind=wall, detail_m=height_m * 0.6)
            inner = wall_quad(side * d_m, left, right, low, high)
            builder.add(inner, colour, key_m=key_m, normal=normal, behind=wall, detail_m=height_m)


def add_house(builder: MeshBuilder, rng: np.random.Generator, side: int, d_m: float, s0: float, s1: float) -> float:
    """Adds a house whose front stands ``d_m`` from the road's centre between ``s0`` and ``s1``; returns its height."""
    num_floors = int(rng.integers(2, 5))
    floor_m = rng.uniform(2.8, 3.4)
    height_m, depth_m = num_floors * floor_m + 0.4, rng.uniform(8.0, 12.0)
    wall, roof = vary(rng, WALLS, 0.12), vary(rng, ROOFS, 0.15)
    key_m, back_m, middle = s1, d_m + depth_m, (s0 + s1) / 2
    front, near = (0.0, -side, 0.0), (-1.0, 0.0, 0.0)
    style = rng.choice(["flat", "along", "across"], p=[0.35, 0.35, 0.3])
    rise_m = 0.0 if style == "flat" else rng.uniform(2.4, 4.2)
    if style == "along":
        ridge = d_m + depth_m / 2
        slope = [[s0, side * (d_m - 0.3), height_m], [s1, side * (d_m - 0.3), height_m],
                 [s1, side * ridge, height_m + rise_m], [s0, side * ridge, height_m + rise_m]]  # fmt: skip
        builder.add(slope, roof, key_m=key_m, normal=(0.0, -side * rise_m, depth_m / 2))
        gable = [[s0, side * d_m, height_m], [s0, side * back_m, height_m], [s0, side * ridge, height_m + rise_m]]
        builder.add(gable, wall * 0.97, key_m=key_m, normal=near)
    elif style == "across":
        slope = [[s0 - 0.3, side * d_m, height_m], [s0 - 0.3, side * back_m, height_m],
                 [middle, side * back_m, height_m + rise_m], [middle, side * d_m, height_m + rise_m]]  # fmt: skip
        builder.add(slope, roof, key_m=key_m, normal=(-rise_m, 0.0, middle - s0))
        gable = [[s0, side * d_m, height_m], [s1, side * d_m, height_m], [middle, side * d_m, height_m + rise_m]]
        builder.add(gable, wall, key_m=key_m, normal=front)
    builder.add(cross_quad(s0, side * d_m, side * back_m, 0.0, height_m), wall * 0.97, key_m=key_m, normal=near)
    builder.add(wall_quad(side * d_m, s0, s1, 0.0, height_m), wall, key_m=key_m, normal=front)
    plinth = wall_quad(side * d_m, s0, s1, 0.0, 0.5)
    builder.add(plinth, wall * 0.7, key_m=key_m, normal=front, behind=wall, detail_m=0.8)
    if style != "across":
        eave = wall_quad(side * d_m, s0, s1, height_m - 0.45, height_m)
        builder.add(eave, wall * 0.78, key_m=key_m, normal=front, behind=wall, detail_m=0.8)
    _openings(builder, rng, side, d_m, s0, s1, wall, num_floors, floor_m, key_m)
    return height_m + rise_m / 2


def disc(s_m: float, d_m: float, h_m: float, radius_m: float, stretch: float = 1.0) -> Array:
    """An upright disc that faces along the road, as a polygon of 14 corners."""
    angle = np.arange(14) * (2 * np.pi / 14)
    return np.stack(
        [np.full(14, s_m), d_m + radius_m * np.cos(angle), h_m + radius_m * stretch * np.sin(angle)], axis=1
    )


def add_tree(builder: MeshBuilder, rng: np.random.Generator, s_m: float, d_m: float) -> None:
    """Adds a tree: a trunk and a crown of overlapping discs, darker below and lighter towards the sun."""
    trunk_m, radius_m = rng.uniform(2.0, 3.2), rng.uniform(1.2, 2.2)
    leaves, stretch = vary(rng, LEAVES, 0.2), rng.uniform(0.9, 1.4)
    crown_h = trunk_m + radius_m * stretch * 0.75
    shadow = disc(0.0, d_m, 0.0, radius_m)
    shadow[:, 0] = s_m + shadow[:, 2] * 1.2
    shadow[:, 2] = 0.0
    builder.add(shadow, (0.20, 0.21, 0.20), key_m=s_m + 0.5)
    builder.add(cross_quad(s_m, d_m - 0.16, d_m + 0.16, 0.0, trunk_m + 0.6), (0.26, 0.20, 0.16), key_m=s_m)
    light = builder.light
    sunward = float(np.sign(light.sun[1]))
    for layer in range(7):
        lift = layer / 6.0
        brightness = light.ambient * 0.85 + (1.15 - light.ambient * 0.85) * lift
        spread = 0.42 * radius_m * np.sin(np.pi * min(lift + 0.2, 1.0))
        across = rng.uniform(-1.0, 1.0) * spread + 0.22 * lift * radius_m * sunward
        height = crown_h + (0.55 * lift - 0.2) * radius_m * stretch
        size = radius_m * (0.92 - 0.5 * lift) * rng.uniform(0.92, 1.08)
        builder.add(disc(s_m, d_m + across, height, size, stretch), leaves * brightness, key_m=s_m)


def add_lamp(builder: MeshBuilder, side: int, s_m: float, d_m: float, height_m: float) -> None:
    """Adds a lamp post with an arm over the road."""
    grey = (0.34, 0.36, 0.38)
    post, tip = side * d_m, side * (d_m - 1.6)
    builder.add(cross_quad(s_m, post - 0.09, post + 0.09, 0.0, height_m), grey, key_m=s_m)
    builder.add(cross_quad(s_m, post, tip, height_m - 0.14, height_m), grey, key_m=s_m)
    builder.add(cross_quad(s_m, tip - 0.35, tip + 0.35, height_m - 0.3, height_m - 0.1), (0.8, 0.8, 0.76), key_m=s_m)
