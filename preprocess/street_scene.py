"""Made-up driving clips: a camera drives forward along a street of houses, trees and cars.

``render_clip`` is a pure function of (seed, split, index). Everything stands in one world that is complete from the
first frame on, speed and curvature hold for the whole clip, and so two frames tell how the rest will move.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from preprocess.street_cars import add_car
from preprocess.street_ground import Ground, Road, Sky
from preprocess.street_mesh import Array, Camera, Light, Mesh, MeshBuilder, draw_mesh
from preprocess.street_objects import add_house, add_lamp, add_tree

RENDERER = 2
"""Counts up whenever a clip would come out differently: clips of two renderers are never mixed."""
SUPERSAMPLE = 3
LENS_BLUR = 1 / 256
"""Standard deviation of the lens's blur, as a fraction of the frame's width. No camera draws edges like a ruler."""
_WORLD_M = (-12.0, 240.0)
_SKY_MARGIN_PX = 72


@dataclass(frozen=True)
class Drive:
    """How the camera moves: ``s`` at frame t is ``speed * t + acceleration * t * t / 2``, in metres and frames."""

    speed: float
    acceleration: float

    def position_m(self, frame: int) -> float:
        """Metres driven since frame 0."""
        return self.speed * frame + 0.5 * self.acceleration * frame * frame


@dataclass(frozen=True)
class Mood:
    """Weather and time of day: colours in [0, 1]."""

    sky_top: tuple[float, float, float]
    sky_low: tuple[float, float, float]
    tint: tuple[float, float, float]
    ambient: float
    clouds: float
    visibility_m: tuple[float, float]
    lamps: float = 0.0


MOODS = (
    Mood((0.30, 0.50, 0.80), (0.74, 0.82, 0.90), (1.00, 0.98, 0.94), 0.56, 0.6, (140.0, 320.0)),
    Mood((0.62, 0.66, 0.72), (0.80, 0.82, 0.84), (0.94, 0.96, 1.00), 0.78, 0.5, (90.0, 220.0)),
    Mood((0.42, 0.50, 0.68), (0.96, 0.80, 0.60), (1.06, 0.93, 0.78), 0.52, 0.5, (110.0, 240.0)),
    Mood((0.20, 0.26, 0.42), (0.62, 0.54, 0.58), (0.72, 0.74, 0.86), 0.66, 0.4, (90.0, 180.0), 0.4),
    Mood((0.66, 0.68, 0.70), (0.74, 0.75, 0.76), (0.86, 0.88, 0.90), 0.84, 0.2, (45.0, 80.0)),
)
_MOOD_SHARES = (0.36, 0.26, 0.18, 0.11, 0.09)


def clip_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """The generator of one clip; the same on every machine (the split enters as its CRC-32)."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(split.encode()), index])
    return np.random.Generator(np.random.Philox(entropy))


def render_clip(
    seed: int, split: str, index: int, *, num_frames: int = 30, frame_width_px: int = 256, frame_height_px: int = 128
) -> NDArray[np.uint8]:
    """One made-up driving clip.

    Args:
        seed, split, index: name the clip; each triple has its own street, light, traffic and speed.
        num_frames: T; a longer clip begins with the frames of a shorter one.
        frame_width_px, frame_height_px: W and H; the street is the same at every size.

    Returns:
        (T, H, W, 3) RGB uint8.
    """
    rng = clip_rng(seed, split, index)
    mood = MOODS[rng.choice(len(MOODS), p=_MOOD_SHARES)]
    camera = _make_camera(rng, frame_width_px, frame_height_px)
    light = _make_light(rng, mood)
    drive = Drive(speed=rng.uniform(0.22, 0.95), acceleration=rng.uniform(-0.004, 0.006))
    road, mesh = _make_street(rng, light, camera, drive)
    noise = rng.uniform(-1.0, 1.0, (64, 64))
    ground = Ground(camera, road, light, noise, frame_width_px, frame_height_px)
    sky = _make_sky(rng, mood, light, ground.top_px, frame_width_px)
    curve = _tone_curve(rng, mood)
    frames = [_render_frame(ground, sky, mesh, camera, light, drive, frame, curve) for frame in range(num_frames)]
    return np.stack(frames)


def _render_frame(
    ground: Ground, sky: Sky, mesh: Mesh, camera: Camera, light: Light, drive: Drive, frame: int, curve: list[int]
) -> NDArray[np.uint8]:
    """Frame number ``frame`` of the clip: (H, W, 3)."""
    s_cam_m = drive.position_m(frame)
    lower = ground.paint(s_cam_m)
    width_px = lower.shape[1]
    turn_px = camera.focal_px * camera.curvature_per_m * s_cam_m
    backdrop = np.concatenate([sky.paint(turn_px, width_px), lower])
    image = Image.fromarray(np.clip(np.rint(backdrop * 255.0), 0, 255).astype(np.uint8))
    image = image.resize((image.width * SUPERSAMPLE, image.height * SUPERSAMPLE), Image.Resampling.NEAREST)
    draw_mesh(image, mesh, camera, light, s_cam_m, frame, SUPERSAMPLE)
    seen = image.reduce(SUPERSAMPLE).filter(ImageFilter.GaussianBlur(LENS_BLUR * width_px))
    return np.asarray(seen.point(curve))


def _make_camera(rng: np.random.Generator, width_px: int, height_px: int) -> Camera:
    """Lens, height, lane position, and the bend of the road that it follows."""
    straight = rng.random() < 0.4
    bend = rng.uniform(-1.0, 1.0) / (2500.0 if straight else 190.0)
    return Camera(
        focal_px=rng.uniform(0.58, 0.72) * width_px,
        centre_x_px=width_px / 2,
        horizon_y_px=rng.uniform(0.44, 0.50) * height_px,
        height_m=rng.uniform(1.3, 2.1),
        offset_m=rng.uniform(1.2, 2.0),
        curvature_per_m=bend if abs(bend) > 1e-5 else 1e-5,
    )


def _make_light(rng: np.random.Generator, mood: Mood) -> Light:
    """The sun somewhere above the horizon, to one side of the road."""
    azimuth = rng.uniform(0.25, 0.75) * np.pi * (1 if rng.random() < 0.5 else -1)
    height = rng.uniform(0.45, 1.0)
    sun = np.array([np.cos(azimuth), np.sin(azimuth), height])
    haze = np.array(mood.sky_low) * rng.uniform(0.92, 1.04)
    visibility_m = rng.uniform(*mood.visibility_m)
    return Light(sun / np.linalg.norm(sun), mood.ambient, np.clip(haze, 0, 1), visibility_m, mood.lamps)


def _make_street(rng: np.random.Generator, light: Light, camera: Camera, drive: Drive) -> tuple[Road, Mesh]:
    """The road and everything that stands or drives on it."""
    half_m, pavement_m = rng.uniform(3.4, 4.4) + (rng.random() < 0.5) * 2.0, rng.uniform(1.6, 3.4)
    builder = MeshBuilder(light)
    parking_d = half_m - 1.15
    shade_side = 1 if light.sun[1] > 0 else -1
    cast = abs(light.sun[1]) / max(light.sun[2], 0.2)
    shade_d = np.full(int(_WORLD_M[1] - _WORLD_M[0]) + 1, 99.0)
    for side in (-1, 1):
        density = rng.uniform(0.35, 1.0)
        front_m = half_m + 0.35 + pavement_m + rng.choice([0.0, 1.5, 4.0])
        for s0, s1, height_m in _row_of_houses(rng, builder, side, front_m, density):
            if side == shade_side:
                low, high = int(max(s0 - _WORLD_M[0], 0)), int(max(s1 - _WORLD_M[0], 0))
                shade_d[low:high] = np.minimum(shade_d[low:high], front_m - cast * height_m * 0.9)
        _greenery(rng, builder, side, half_m, pavement_m)
        if half_m > 5.0:
            _parked_cars(rng, builder, side, parking_d)
    lane_m = min(camera.offset_m + 0.2, half_m - 1.4)
    _traffic(rng, builder, lane_m, drive)
    sunny = 1.0 - light.ambient
    road = Road(
        half_width_m=half_m,
        pavement_m=pavement_m,
        dash_m=rng.uniform(2.5, 4.0),
        period_m=rng.uniform(6.5, 10.0),
        line_m=rng.uniform(0.16, 0.24),
        edge_lines=bool(half_m < 5.0 and rng.random() < 0.75),
        asphalt_rgb=np.full(3, rng.uniform(0.26, 0.44)) + rng.uniform(-0.02, 0.02, 3),
        pavement_rgb=np.full(3, rng.uniform(0.46, 0.62)) + rng.uniform(-0.03, 0.03, 3),
        verge_rgb=np.array([0.30, 0.40, 0.20]) * rng.uniform(0.75, 1.25),
        line_rgb=np.full(3, rng.uniform(0.80, 0.95)),
        patchiness=rng.uniform(0.04, 0.14),
        crossing_s_m=rng.uniform(14.0, 60.0) if rng.random() < 0.2 else np.inf,
        shade_d_m=shade_d,
        shade_start_m=_WORLD_M[0],
        shade_side=shade_side,
        shade_depth=0.75 * sunny,
    )
    return road, builder.build()


def _row_of_houses(
    rng: np.random.Generator, builder: MeshBuilder, side: int, front_m: float, density: float
) -> list[tuple[float, float, float]]:
    """Houses along one side, with gaps; returns (s0, s1, height) of each in metres."""
    houses, s_m = [], _WORLD_M[0] + rng.uniform(0.0, 10.0)
    while s_m < _WORLD_M[1]:
        length_m = rng.uniform(8.0, 15.0)
        if rng.random() < density:
            houses.append((s_m, s_m + length_m, add_house(builder, rng, side, front_m, s_m, s_m + length_m)))
        s_m += length_m + (rng.uniform(2.0, 9.0) if rng.random() < 0.45 else 0.0)
    return houses


def _greenery(rng: np.random.Generator, builder: MeshBuilder, side: int, half_m: float, pavement_m: float) -> None:
    """Street trees and lamp posts on the pavement, more or less evenly spaced."""
    spacing_m = rng.choice([11.0, 16.0, 26.0, 1e9], p=[0.2, 0.3, 0.3, 0.2])
    s_m = _WORLD_M[0] + rng.uniform(0.0, 20.0)
    while s_m < _WORLD_M[1] - 20.0:
        add_tree(builder, rng, s_m, side * (half_m + 0.35 + pavement_m * rng.uniform(0.5, 0.9)))
        s_m += spacing_m * rng.uniform(0.75, 1.25)
    if rng.random() < 0.6:
        height_m, first_m = rng.uniform(5.5, 8.0), rng.uniform(0.0, 28.0)
        for lamp in range(7):
            add_lamp(builder, side, first_m + 28.0 * lamp, half_m + 0.7, height_m)


def _parked_cars(rng: np.random.Generator, builder: MeshBuilder, side: int, parking_d: float) -> None:
    """Cars at the kerb, in the direction of their side's traffic."""
    share, s_m = rng.uniform(0.2, 0.8), rng.uniform(0.0, 8.0)
    while s_m < 150.0:
        if rng.random() < share:
            add_car(builder, rng, s_m, side * parking_d, away=side > 0, speed=0.0)
        s_m += rng.uniform(6.0, 8.5)


def _traffic(rng: np.random.Generator, builder: MeshBuilder, lane_m: float, drive: Drive) -> None:
    """Oncoming cars at one speed, and perhaps one or two cars ahead that keep their distance."""
    oncoming, s_m = -rng.uniform(0.3, 0.9), rng.uniform(15.0, 50.0)
    for _ in range(int(rng.integers(0, 4))):
        add_car(builder, rng, s_m, -lane_m, away=False, speed=oncoming)
        s_m += rng.uniform(14.0, 45.0)
    if rng.random() < 0.6:
        gap_m = rng.uniform(10.0, 34.0)
        # Slow enough to come nearer, never so slow that the camera would run into it within a long clip.
        pace = drive.speed + max(rng.uniform(-0.25, 0.25), -(gap_m - 9.0) / 40.0)
        add_car(builder, rng, gap_m, lane_m, away=True, speed=pace)
        if rng.random() < 0.4:
            add_car(builder, rng, gap_m + rng.uniform(14.0, 30.0), lane_m, away=True, speed=pace)


def _smooth_noise(rng: np.random.Generator, cells: tuple[int, int], size_px: tuple[int, int]) -> Array:
    """Smooth noise in about [0, 1], (H, W) of ``size_px``, from a coarse grid of (rows, columns) cells."""
    coarse = Image.fromarray(rng.uniform(0.0, 1.0, cells).astype(np.float32))
    return np.asarray(coarse.resize((size_px[1], size_px[0]), Image.Resampling.BICUBIC), dtype=np.float64)


def _make_sky(rng: np.random.Generator, mood: Mood, light: Light, rows_px: int, width_px: int) -> Sky:
    """A gradient with clouds, and a far skyline in the haze."""
    wide_px = width_px + 2 * _SKY_MARGIN_PX
    up = ((rows_px - 0.5 - np.arange(rows_px)) / max(rows_px, 1))[:, None, None]
    top = np.clip(np.array(mood.sky_top) + rng.uniform(-0.06, 0.06, 3), 0, 1)
    panorama = light.haze_rgb + (top - light.haze_rgb) * np.sqrt(up) * np.ones((1, wide_px, 1))
    size_px = (rows_px, wide_px)
    cloud = 0.7 * _smooth_noise(rng, (5, 12), size_px) + 0.3 * _smooth_noise(rng, (9, 26), size_px)
    cover = np.clip((cloud - rng.uniform(0.45, 0.7)) / 0.25, 0, 1) * mood.clouds * np.clip(up[..., 0] * 2.5, 0, 1)
    panorama = panorama + cover[..., None] * (np.clip(light.haze_rgb * 1.1 + 0.06, 0, 1) - panorama)
    skyline = _smooth_noise(rng, (1, 40), (1, wide_px))[0] * 0.6 + _smooth_noise(rng, (1, 9), (1, wide_px))[0] * 0.6
    height_px = rows_px * rng.uniform(0.05, 0.16) * np.clip(skyline, 0.1, 1.2)
    hill = np.clip(height_px[None, :] - up[..., 0] * rows_px + 0.5, 0, 1)[..., None]
    hill_rgb = light.haze_rgb * rng.uniform(0.55, 0.8) + rng.uniform(-0.02, 0.02, 3)
    return Sky(panorama + hill * (hill_rgb - panorama), _SKY_MARGIN_PX)


def _tone_curve(rng: np.random.Generator, mood: Mood) -> list[int]:
    """The camera's exposure, contrast and colour cast, as a table of 3 x 256 values for ``Image.point``."""
    level = np.arange(256) / 255.0
    exposure, gamma = rng.uniform(0.86, 1.12), rng.uniform(0.88, 1.15)
    cast = np.array(mood.tint) * (1.0 + rng.uniform(-0.04, 0.04, 3))
    curves = np.clip(exposure * cast[:, None] * level[None, :] ** gamma, 0.0, 1.0)
    return np.rint(curves * 255.0).astype(int).ravel().tolist()
