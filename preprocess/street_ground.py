"""The road, pavements and lawns under the camera, and the sky above them: the backdrop of one clip.

The ground is filtered exactly: markings are box-filtered over each pixel's footprint, so that nothing flickers.
Arrays are (H, W) or (H, W, 3), float, colours in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocess.street_mesh import FAR_M, Array, Camera, Light

_NOISE_CELLS = 64


@dataclass(frozen=True)
class Road:
    """What lies across the road, from its centre line outwards, and how it is painted."""

    half_width_m: float
    pavement_m: float
    dash_m: float
    period_m: float
    line_m: float
    edge_lines: bool
    asphalt_rgb: Array
    pavement_rgb: Array
    verge_rgb: Array
    line_rgb: Array
    patchiness: float
    crossing_s_m: float
    """Where a zebra crossing begins; infinite for none."""
    shade_d_m: Array
    """(K,) along s in steps of one metre from ``shade_start_m``: houses shade the ground beyond this |d|."""
    shade_start_m: float
    shade_side: int
    shade_depth: float


def _step(position: Array, edge: float | Array, footprint: Array) -> Array:
    """Share of each pixel that lies beyond ``edge``."""
    return np.clip((position - edge) / footprint + 0.5, 0.0, 1.0)


def _band(position: Array, low: float, high: float, footprint: Array) -> Array:
    """Share of each pixel between ``low`` and ``high``."""
    return _step(position, low, footprint) - _step(position, high, footprint)


def _dashes(s_m: Array, footprint: Array, dash_m: float, period_m: float) -> Array:
    """Share of each pixel covered by dashes of ``dash_m`` every ``period_m``: the exact box filter."""

    def painted(end: Array) -> Array:
        whole = np.floor(end / period_m)
        return whole * dash_m + np.minimum(end - whole * period_m, dash_m)

    return (painted(s_m + footprint / 2) - painted(s_m - footprint / 2)) / footprint


def _footprint(field: Array) -> Array:
    """How much of ``field`` one pixel spans, at least a little."""
    along_v, along_u = np.gradient(field)
    return np.maximum(np.hypot(along_u, along_v), 1e-3)


class Ground:
    """The ground of one clip. Its geometry does not change from frame to frame; only the paint moves past."""

    def __init__(self, camera: Camera, road: Road, light: Light, noise: Array, width_px: int, height_px: int) -> None:
        """``noise``: (64, 64) in [-1, 1], tiled over the ground as patches of asphalt and grass."""
        self.road, self.light, self.noise = road, light, noise
        self.top_px = int(np.ceil(camera.horizon_y_px))
        rows = np.arange(self.top_px, height_px) + 0.5
        z_row = camera.focal_px * camera.height_m / np.maximum(rows - camera.horizon_y_px, 0.25)
        z_m = np.repeat(z_row[:, None], width_px, axis=1)
        x_m = (np.arange(width_px) + 0.5 - camera.centre_x_px)[None, :] * z_m / camera.focal_px
        self.z_m = z_m
        self.ahead_m, self.d_m = camera.to_road(x_m, z_m)
        self.d_footprint, self.s_footprint = _footprint(self.d_m), _footprint(self.ahead_m)
        self._paint_still()

    def _paint_still(self) -> None:
        """What is the same in every frame: surfaces and edge lines."""
        road, across, size = self.road, np.abs(self.d_m), self.d_footprint
        edge = road.half_width_m
        kerb, beyond = edge + 0.35, edge + 0.35 + road.pavement_m
        layers = [
            (_step(across, edge, size), road.pavement_rgb * 1.12),
            (_step(across, kerb, size), road.pavement_rgb),
            (_step(across, beyond, size), road.verge_rgb),
        ]
        colour = np.broadcast_to(road.asphalt_rgb, (*across.shape, 3))
        for share, rgb in layers:
            colour = colour + share[..., None] * (rgb - colour)
        gutter = _band(across, edge - 0.25, edge, size)
        colour = colour * (1.0 - 0.25 * gutter[..., None])
        if road.edge_lines:
            line = _band(across, edge - 0.75, edge - 0.75 + road.line_m, size)
            colour = colour + 0.9 * line[..., None] * (road.line_rgb - colour)
        self.still = colour
        self.on_road = 1.0 - layers[0][0]
        self.centre = _band(self.d_m, -road.line_m / 2, road.line_m / 2, size)
        stripes = _dashes(self.d_m + 0.25, size, 0.5, 1.0) * self.on_road
        self.stripes = stripes if np.isfinite(road.crossing_s_m) else None
        detail = np.clip(1.5 - self.s_footprint / 1.2, 0.0, 1.0)
        self.grain = road.patchiness * detail * np.where(across > beyond, 1.6, 1.0)
        clear = np.exp(-self.z_m / self.light.visibility_m)
        clear *= np.clip((FAR_M - self.ahead_m) / 40.0, 0.0, 1.0) * (self.ahead_m > 0)
        self.clear = clear[..., None]
        self._lay_patches()

    def _lay_patches(self) -> None:
        """Where each pixel lies among the columns of the noise, for the rows near enough to show any of it."""
        self.grained = slice(int(np.argmax(self.grain.any(axis=1))), None) if self.grain.any() else slice(0, 0)
        column = self.d_m[self.grained] / 1.1
        column0 = np.floor(column).astype(np.int64)
        right = column - column0
        self.right = right * right * (3 - 2 * right)
        self.column0, self.column1 = column0 % _NOISE_CELLS, (column0 + 1) % _NOISE_CELLS

    def _patches(self, s_m: Array) -> Array:
        """Smooth noise in [-1, 1], anchored to the road, for the rows ``grained``."""
        row = s_m[self.grained] / 2.3
        row0 = np.floor(row).astype(np.int64)
        down = row - row0
        down = down * down * (3 - 2 * down)
        row0 = row0 % _NOISE_CELLS
        row1 = (row0 + 1) % _NOISE_CELLS
        noise, right, left = self.noise, self.right, 1 - self.right
        upper = noise[row0, self.column0] * left + noise[row0, self.column1] * right
        lower = noise[row1, self.column0] * left + noise[row1, self.column1] * right
        return upper * (1 - down) + lower * down

    def paint(self, s_cam_m: float) -> Array:
        """The ground seen from ``s_cam_m``: (rows below the horizon, W, 3)."""
        road = self.road
        s_m = self.ahead_m + s_cam_m
        marks = 0.92 * self.centre * _dashes(s_m, self.s_footprint, road.dash_m, road.period_m)
        if self.stripes is not None:
            start = road.crossing_s_m
            on_crossing = _band(s_m, start, start + 3.2, self.s_footprint)
            clear_of_it = 1.0 - _band(s_m, start - 1.5, start + 4.7, self.s_footprint)
            marks = marks * clear_of_it + 0.85 * on_crossing * self.stripes
        colour = self.still + marks[..., None] * (road.line_rgb - self.still)
        colour[self.grained] *= (1.0 + self.grain[self.grained] * self._patches(s_m))[..., None]
        steps = np.arange(len(road.shade_d_m)) + road.shade_start_m
        limit = np.interp(s_m, steps, road.shade_d_m)
        shaded = _step(self.d_m * road.shade_side, limit, self.d_footprint + 0.3)
        colour = colour * (1.0 - road.shade_depth * shaded)[..., None]
        return colour * self.clear + self.light.haze_rgb * (1.0 - self.clear)


class Sky:
    """A panorama wider than the frame, which turns with the camera."""

    def __init__(self, panorama: Array, margin_px: int) -> None:
        """``panorama``: (rows above the horizon, W + 2 * margin, 3)."""
        self.panorama, self.margin_px = panorama, margin_px

    def paint(self, shift_px: float, width_px: int) -> Array:
        """The sky (rows, W, 3) after a turn of ``shift_px`` to the right, clamped at the panorama's ends."""
        start = float(np.clip(self.margin_px + shift_px, 0.0, 2 * self.margin_px - 1.0))
        whole = int(start)
        part = start - whole
        left = self.panorama[:, whole : whole + width_px]
        right = self.panorama[:, whole + 1 : whole + 1 + width_px]
        return left * (1.0 - part) + right * part
