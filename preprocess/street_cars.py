"""Cars and vans, as polygons in road coordinates (see ``street_mesh``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocess.street_mesh import Array, MeshBuilder
from preprocess.street_objects import CARS, GLASS, cross_quad, disc, vary, wall_quad

Corner = tuple[float, float, float]


@dataclass(frozen=True)
class _Body:
    """Measures of one car in metres; the cabin stands on the belt line and narrows upwards."""

    d_m: float
    near: float
    far: float
    half_width: float
    belt: float
    roof: float
    near_base: float
    far_base: float
    top_near: float
    top_far: float
    is_van: bool

    @property
    def top_half_width(self) -> float:
        return self.half_width * 0.80

    def across(self, s_m: float, h_m: float, half_width: float) -> tuple[Corner, Corner]:
        """The left and right ends of a line across the car."""
        return (s_m, self.d_m - half_width, h_m), (s_m, self.d_m + half_width, h_m)

    def sheet(
        self, near: float, near_h: float, near_half: float, far: float, far_h: float, far_half: float
    ) -> list[Corner]:
        """The quad between two lines across the car."""
        left, right = self.across(near, near_h, near_half)
        far_left, far_right = self.across(far, far_h, far_half)
        return [left, right, far_right, far_left]


def _draw_body(rng: np.random.Generator, s_m: float, d_m: float, away: bool) -> _Body:
    """Random measures; the cabin leans differently at the bonnet and at the boot."""
    is_van = bool(rng.random() < 0.2)
    half_m, half_width = rng.uniform(2.0, 2.4), rng.uniform(0.86, 0.94)
    belt, roof = (1.05, 2.05) if is_van else (rng.uniform(0.88, 0.98), rng.uniform(1.42, 1.6))
    near, far = s_m - half_m, s_m + half_m
    if is_van:
        near_base, far_base, lean_near, lean_far = near + 0.05, far - 0.6, 0.25, 0.35
    elif away:
        near_base, far_base, lean_near, lean_far = near + 0.15, far - 1.2, 0.75, 0.8
    else:
        near_base, far_base, lean_near, lean_far = near + 1.2, far - 0.15, 0.9, 0.6
    return _Body(
        d_m, near, far, half_width, belt, roof, near_base, far_base, near_base + lean_near, far_base - lean_far, is_van
    )


def add_car(
    builder: MeshBuilder, rng: np.random.Generator, s_m: float, d_m: float, *, away: bool, speed: float
) -> None:
    """Adds a car whose middle is at (s, d); ``away`` shows its rear; ``speed`` in metres along ``s`` per frame."""
    paint = vary(rng, CARS, 0.15)
    body = _draw_body(rng, s_m, d_m, away)

    def put(points: list[Corner], rgb: Array, normal: Corner | None = None, detail_m: float = np.inf) -> None:
        builder.add(points, rgb, key_m=s_m, normal=normal, speed=speed, behind=paint, detail_m=detail_m)

    shadow = body.sheet(body.near - 0.2, 0.01, body.half_width + 0.15, body.far + 0.1, 0.01, body.half_width + 0.15)
    builder.add(shadow, (0.11, 0.11, 0.12), key_m=s_m + 0.3, speed=speed)
    for side in (-1, 1):
        edge, top = d_m + side * body.half_width, d_m + side * body.top_half_width
        put(wall_quad(edge, body.near, body.far, 0.28, body.belt), paint, (0.0, side, 0.0))
        pane = [(body.near_base, edge, body.belt), (body.far_base, edge, body.belt),
                (body.top_far, top, body.roof), (body.top_near, top, body.roof)]  # fmt: skip
        put(pane, GLASS * 0.9, (0.0, side, 0.25))
        for axle in (body.near + 0.85, body.far - 0.85):
            wheel = [(along, edge, h_m) for _, along, h_m in disc(0.0, axle, 0.33, 0.33).tolist()]
            put(wheel, np.array([0.07, 0.07, 0.08]), (0.0, side, 0.0))
    wide, narrow = body.half_width, body.top_half_width
    if not body.is_van:
        put(body.sheet(body.near, body.belt - 0.04, wide, body.near_base, body.belt, wide), paint, (0.0, 0.0, 1.0))
    roof = body.sheet(body.top_near, body.roof, narrow, body.top_far, body.roof, narrow)
    put(roof, np.clip(paint * 1.05, 0, 1), (0.0, 0.0, 1.0))
    screen = body.sheet(body.near_base, body.belt, wide, body.top_near, body.roof, narrow)
    put(screen, GLASS * 1.15, (-1.0, 0.0, 0.5))
    put(cross_quad(body.near, d_m - wide, d_m + wide, 0.28, body.belt), paint * 0.92, (-1.0, 0.0, 0.0))
    bumper = cross_quad(body.near - 0.02, d_m - wide + 0.02, d_m + wide - 0.02, 0.24, 0.46)
    put(bumper, paint * 0.45, (-1.0, 0.0, 0.0))
    lamp = np.array([0.72, 0.06, 0.05]) if away else np.array([0.95, 0.93, 0.80])
    for side in (-1, 1):
        inner, outer = d_m + side * (wide - 0.42), d_m + side * (wide - 0.05)
        put(cross_quad(body.near - 0.03, inner, outer, body.belt - 0.32, body.belt - 0.10), lamp, detail_m=0.5)
    plate = cross_quad(body.near - 0.03, d_m - 0.26, d_m + 0.26, 0.5, 0.63)
    put(plate, np.array([0.85, 0.85, 0.82]), detail_m=0.4)
