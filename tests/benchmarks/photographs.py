"""Made-up photographs with about the entropy of Cityscapes' frames, as PNG files; and a tree of them.

A picture is a sum of smooth random fields, each octave weaker than the one below as in photographs of streets, with
sharp edges of flat surfaces and the noise of a sensor. A frame of 2048 x 1024 px takes about 2 MB, as Cityscapes' do.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

HOME = Path(__file__).parents[2]
sys.path.insert(0, str(HOME))
from preprocess.source.cityscapes import frame_name  # noqa: E402
from vdt_hpc.experiment.paths import CITYSCAPES_TREE  # noqa: E402

CITIES = {"train": "aachen", "val": "frankfurt", "test": "bonn"}
SENSOR_NOISE_LEVELS = 0.75
"""Standard deviation of each pixel's noise in grey levels; it decides the size of the files."""
PAN_PX = 12
"""The camera's way between two frames."""


def canvas(rng, height_px, width_px):
    """A scene without noise, (H, W, 3) float32 in grey levels."""
    scene = np.full((height_px, width_px, 3), 110, np.float32)
    cell_px, strength = height_px // 2, 45.0
    while cell_px >= 2:
        shape = (height_px // cell_px + 2, width_px // cell_px + 2)
        grey = rng.standard_normal(shape, np.float32)
        for channel in range(3):  # mostly grey, a little colour
            mixed = Image.fromarray(strength * (grey + 0.15 * rng.standard_normal(shape, np.float32)))
            scene[..., channel] += np.asarray(mixed.resize((width_px, height_px), Image.Resampling.BICUBIC))
        cell_px, strength = cell_px // 2, strength / 1.9
    surfaces = Image.new("RGB", (width_px, height_px), (128, 128, 128))
    draw = ImageDraw.Draw(surfaces)
    for _ in range(60):
        left, top = rng.integers(0, width_px), rng.integers(0, height_px)
        across_px, down_px = rng.integers(8, height_px // 2 + 9, 2)
        colour = tuple(int(level) for level in 128 + rng.integers(-40, 40) + rng.integers(-8, 8, 3))
        draw.polygon([(left, top), (left + across_px, top + 9), (left + across_px, top + down_px)], fill=colour)
    return scene + np.asarray(surfaces, np.float32) - 128


def photographs(num_frames, size_px=(2048, 1024), seed=0):
    """Frames of a camera that pans over one scene, each (H, W, 3) uint8; no two are the same."""
    width_px, height_px = size_px
    rng = np.random.default_rng(seed)
    scene = canvas(rng, height_px, width_px + PAN_PX * num_frames)
    for frame in range(num_frames):
        seen = scene[:, frame * PAN_PX : frame * PAN_PX + width_px]
        noisy = seen + SENSOR_NOISE_LEVELS * rng.standard_normal(seen.shape, np.float32)
        yield np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def png(pixels):
    """The bytes of a PNG, filtered and compressed by libpng as it does unasked."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def write_cityscapes(folder, clips_per_city, frames_per_clip=30, size_px=(2048, 1024)):
    """Write leftImg8bit_sequence/<split>/<city>/*.png with one city in each split; return the number of files.

    The pictures of one clip are made once and serve all clips, each of which begins at another of them.
    """
    contents = [png(pixels) for pixels in photographs(frames_per_clip, size_px)]
    num_files = 0
    for split, city in CITIES.items():
        home = folder / CITYSCAPES_TREE / split / city
        home.mkdir(parents=True, exist_ok=True)
        for clip in range(clips_per_city):
            for frame in range(frames_per_clip):
                content = contents[(num_files + num_files // frames_per_clip) % frames_per_clip]
                (home / frame_name(city, clip, frame)).write_bytes(content)
                num_files += 1
    return num_files
