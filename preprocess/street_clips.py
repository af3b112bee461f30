"""One made-up clip as files in the layout of Cityscapes, and the mark of a folder where all of them are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from preprocess.source.cityscapes import frame_name
from preprocess.street_scene import render_clip
from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import Split
from vdt_hpc.experiment.paths import CITYSCAPES_TREE, STREETS_COMPLETE

SETTINGS = "streets.json"
CITIES: dict[Split, tuple[str, ...]] = {
    "train": ("altmoor", "brunnfeld", "distelau"),
    "val": ("erlquell", "fuchsrain"),
    "test": ("ginsterhof", "hollerwiek"),
}
"""Made-up cities; no city is in two splits, as in Cityscapes."""


@dataclass(frozen=True)
class ClipOrder:
    """One clip to make."""

    folder: Path
    seed: int
    split: Split
    index: int
    num_frames: int
    frame_width_px: int
    frame_height_px: int

    def paths(self) -> list[Path]:
        """The clip's files."""
        cities = CITIES[self.split]
        city, sequence = cities[self.index % len(cities)], self.index // len(cities)
        home = self.folder / CITYSCAPES_TREE / self.split / city
        return [home / frame_name(city, sequence, frame) for frame in range(self.num_frames)]

    def is_done(self) -> bool:
        """Whether all files are there (a file that carries its name is whole)."""
        return all(path.exists() for path in self.paths())


def require_complete(folder: Path) -> None:
    """Refuse a folder of street clips that are not all there.

    Raises:
        UserError: the stage did not finish.
    """
    if not (folder / STREETS_COMPLETE).exists():
        raise UserError(f"the street clips in {folder} are not all there yet; run the stage streets again")


def make_clip(order: ClipOrder) -> None:
    """Render a clip and write its files: all under temporary names, then flushed, then renamed.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    frames = render_clip(
        order.seed, order.split, order.index, num_frames=order.num_frames,
        frame_width_px=order.frame_width_px, frame_height_px=order.frame_height_px,
    )  # fmt: skip
    paths = order.paths()
    with files.finish_all(paths) as temporaries:
        for image, temporary in zip(frames, temporaries, strict=True):
            Image.fromarray(image).save(temporary, format="PNG", compress_level=3)
