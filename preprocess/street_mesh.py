"""Flat-shaded polygons in road coordinates, and their projection into one frame.

Road coordinates: ``s`` metres along the road, ``d`` metres to the right of its centre line, ``h`` metres above it.
Camera coordinates: ``x`` right, ``y`` up, ``z`` forward, in metres, with the camera above the road at ``s = s_cam``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[np.float64]

NEAR_M = 0.6
FAR_M = 190.0
_DETAIL_FADE = (0.018, 0.042)
"""Size over distance below which a detail is not drawn, and above which it is drawn in full."""
_MAX_COORDINATE_PX = 30_000


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along the road's tangent. Pixels are those of the finished frame."""

    focal_px: float
    centre_x_px: float
    horizon_y_px: float
    height_m: float
    offset_m: float
    """Distance of the camera to the right of the road's centre line."""
    curvature_per_m: float
    """Curvature of the road, never zero; positive bends to the right."""

    def to_camera(self, ahead_m: Array, d_m: Array, h_m: Array) -> tuple[Array, Array, Array]:
        """Road coordinates, counted from the camera's own ``s``, to camera coordinates (x, y, z)."""
        radius_m = 1.0 / self.curvature_per_m
        angle = ahead_m * self.curvature_per_m
        x_m = radius_m - (radius_m - d_m) * np.cos(angle) - self.offset_m
        z_m = (radius_m - d_m) * np.sin(angle)
        return x_m, h_m - self.height_m, z_m

    def to_road(self, x_m: Array, z_m: Array) -> tuple[Array, Array]:
        """Points on the ground, in camera coordinates, to (metres ahead, d): the inverse of ``to_camera``."""
        radius_m = 1.0 / self.curvature_per_m
        sign = np.sign(radius_m)
        across_m = radius_m - (x_m + self.offset_m)
        angle = np.arctan2(sign * z_m, sign * across_m)
        return angle * radius_m, radius_m - sign * np.hypot(across_m, z_m)


@dataclass(frozen=True)
class Light:
    """Sun and air of one clip. Colours are RGB in [0, 1]; the sun's direction is a unit vector in (s, d, h)."""

    sun: Array
    ambient: float
    haze_rgb: Array
    visibility_m: float
    lamps: float
    """Share of the windows with a light behind them."""

    def shade(self, normal: Sequence[float]) -> float:
        """Brightness in [ambient, 1] of a matt surface with this unit normal."""
        facing = sum(ours * suns for ours, suns in zip(normal, self.sun.tolist(), strict=True))
        return self.ambient + (1.0 - self.ambient) * max(0.0, facing)

    def haze(self, rgb: Array, z_m: Array) -> Array:
        """Colours (..., 3) seen through ``z_m`` (...) metres of air."""
        clear = np.exp(-np.maximum(z_m, 0.0) / self.visibility_m)[..., None]
        return rgb * clear + self.haze_rgb * (1.0 - clear)


@dataclass(frozen=True)
class Mesh:
    """P polygons with N vertices in all; polygon p owns ``vertices[starts[p]:starts[p + 1]]``."""

    vertices: Array
    """(N, 3) road coordinates at frame 0."""
    starts: NDArray[np.int64]
    """(P + 1,)"""
    colours: Array
    """(P, 3) shaded RGB in [0, 1]."""
    behind: Array
    """(P, 3) the colour into which a small detail fades when it is far away."""
    detail_m: Array
    """(P,) the size that decides on the fading; infinite for what never fades."""
    keys_m: Array
    """(P,) painter's order: larger ``s`` is drawn first."""
    speeds: Array
    """(P,) metres along ``s`` per frame."""
    one_sided: NDArray[np.bool_]
    """(P,) drawn only where its outward side faces the camera."""


class MeshBuilder:
    """Collects polygons; ``build`` makes the Mesh."""

    def __init__(self, light: Light) -> None:
        self.light = light
        self._vertices: list[Array] = []
        self._rows: list[tuple[Array, Array, float, float, float, bool]] = []

    def add(
        self,
        vertices: Sequence[Sequence[float]] | Array,
        rgb: Sequence[float] | Array,
        *,
        key_m: float,
        normal: Sequence[float] | None = None,
        speed: float = 0.0,
        behind: Sequence[float] | Array | None = None,
        detail_m: float = np.inf,
    ) -> None:
        """Adds one planar polygon (n, 3); with an outward ``normal`` it is shaded and one-sided."""
        points = np.asarray(vertices, dtype=np.float64)
        colour = np.asarray(rgb, dtype=np.float64)
        backdrop = colour if behind is None else np.asarray(behind, dtype=np.float64)
        if normal is not None:
            length = math.sqrt(sum(part * part for part in normal))
            outward = [part / length for part in normal]
            if _winding(points, outward) < 0:
                points = points[::-1]
            shade = self.light.shade(outward)
            colour, backdrop = colour * shade, backdrop * shade
        self._vertices.append(points)
        self._rows.append((colour, backdrop, detail_m, key_m, speed, normal is not None))

    def build(self) -> Mesh:
        """All polygons so far as one Mesh."""
        colours, behind, detail_m, keys_m, speeds, one_sided = zip(*self._rows, strict=True)
        return Mesh(
            vertices=np.concatenate(self._vertices),
            starts=np.cumsum([0] + [len(points) for points in self._vertices]),
            colours=np.stack(colours),
            behind=np.stack(behind),
            detail_m=np.array(detail_m),
            keys_m=np.array(keys_m),
            speeds=np.array(speeds),
            one_sided=np.array(one_sided),
        )


def _winding(points: Array, outward: Sequence[float]) -> float:
    """Positive where the first three corners turn anticlockwise around ``outward``, negative where clockwise."""
    (s0, d0, h0), (s1, d1, h1), (s2, d2, h2) = points[:3].tolist()
    s_a, d_a, h_a, s_b, d_b, h_b = s1 - s0, d1 - d0, h1 - h0, s2 - s1, d2 - d1, h2 - h1
    turn = (d_a * h_b - h_a * d_b, h_a * s_b - s_a * h_b, s_a * d_b - d_a * s_b)
    return float(sum(ours * theirs for ours, theirs in zip(turn, outward, strict=True)))


def _clip_near(points: Array) -> Array:
    """The part of a polygon (n, 3), in camera coordinates, that lies beyond the near plane; may be empty."""
    kept = []
    for first, second in zip(points, np.roll(points, -1, axis=0), strict=True):
        inside, next_inside = first[2] >= NEAR_M, second[2] >= NEAR_M
        if inside:
            kept.append(first)
        if inside != next_inside:
            kept.append(first + (second - first) * (NEAR_M - first[2]) / (second[2] - first[2]))
    return np.array(kept).reshape(-1, 3)


def _signed_area(x: Array, y: Array, starts: NDArray[np.int64]) -> Array:
    """Twice the signed area of each polygon (P,), from its vertices (N,)."""
    following = np.arange(1, len(x) + 1)
    following[starts[1:] - 1] = starts[:-1]
    return np.add.reduceat(x * y[following] - x[following] * y, starts[:-1])


def _polygon_colours(mesh: Mesh, light: Light, depth_m: Array) -> NDArray[np.int64]:
    """Colours (P, 3) in 0..255 after the fading of small details and the haze."""
    low, high = _DETAIL_FADE
    shown = np.clip((mesh.detail_m / np.maximum(depth_m, NEAR_M) - low) / (high - low), 0.0, 1.0)[:, None]
    seen = light.haze(mesh.colours * shown + mesh.behind * (1.0 - shown), depth_m)
    return np.clip(np.rint(seen * 255.0), 0, 255).astype(np.int64)


def draw_mesh(
    image: Image.Image, mesh: Mesh, camera: Camera, light: Light, s_cam_m: float, frame: int, supersample: int
) -> None:
    """Paints the mesh, far to near, into ``image``, whose pixels are ``supersample`` times finer than the frame's."""
    counts = np.diff(mesh.starts)
    travelled_m = np.repeat(mesh.speeds * frame, counts)
    ahead_m = mesh.vertices[:, 0] + travelled_m - s_cam_m
    x_m, y_m, z_m = camera.to_camera(ahead_m, mesh.vertices[:, 1], mesh.vertices[:, 2])
    heads = mesh.starts[:-1]
    nearest_m, farthest_m = np.minimum.reduceat(z_m, heads), np.maximum.reduceat(z_m, heads)
    farthest_ahead_m = np.maximum.reduceat(ahead_m, heads)

    scale = camera.focal_px / np.maximum(z_m, NEAR_M)
    u = (camera.centre_x_px + x_m * scale) * supersample
    v = (camera.horizon_y_px - y_m * scale) * supersample
    area = _signed_area(x_m * scale, y_m * scale, mesh.starts)
    whole = nearest_m >= NEAR_M
    visible = (farthest_m > NEAR_M) & (farthest_ahead_m < FAR_M) & (farthest_ahead_m > -30.0)
    visible &= ~(mesh.one_sided & whole & (area >= 0.0))
    visible &= (np.maximum.reduceat(u, heads) >= 0) & (np.minimum.reduceat(u, heads) < image.width) | ~whole

    depth_m = np.add.reduceat(np.maximum(z_m, 0.0), heads) / counts
    visible &= mesh.detail_m > _DETAIL_FADE[0] * np.maximum(depth_m, NEAR_M)
    corners = np.clip(np.rint(np.stack([u, v], axis=1)), -_MAX_COORDINATE_PX, _MAX_COORDINATE_PX)
    flat: list[float] = corners.ravel().tolist()
    colours = _polygon_colours(mesh, light, depth_m).tolist()
    starts, is_whole = mesh.starts.tolist(), whole.tolist()

    draw = ImageDraw.Draw(image)
    order = np.argsort(-(mesh.keys_m + mesh.speeds * frame), kind="stable")
    for polygon in order[visible[order]].tolist():
        first, last = starts[polygon], starts[polygon + 1]
        outline = flat[2 * first : 2 * last]
        if not is_whole[polygon]:
            points = np.stack([x_m[first:last], y_m[first:last], z_m[first:last]], axis=1)
            outline = _project(_clip_near(points), camera, supersample)
        if len(outline) >= 6:
            draw.polygon(outline, fill=tuple(colours[polygon]))


def _project(points: Array, camera: Camera, supersample: int) -> list[float]:
    """Points (n, 3) in camera coordinates, all beyond the near plane, to x, y, x, y, ... in fine pixels."""
    scale = camera.focal_px / points[:, 2]
    pixels = np.stack([camera.centre_x_px + points[:, 0] * scale, camera.horizon_y_px - points[:, 1] * scale], axis=1)
    limit = float(_MAX_COORDINATE_PX) / 8
    outline: list[float] = np.rint(np.clip(pixels, -limit, limit) * supersample).ravel().tolist()
    return outline
