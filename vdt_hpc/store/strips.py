"""Film strips of a training on disk: one picture for each moment, `strips/clips-000080000.png`."""

import re
from pathlib import Path

_NAME = re.compile(r"clips-(\d{9})\.png")


def strip_path(folder: Path, clips_seen: int) -> Path:
    """Where the strip of a moment lies; names sort by clips."""
    return folder / f"clips-{clips_seen:09d}.png"


def find(folder: Path) -> dict[int, Path]:
    """Every strip in a folder by clips seen, oldest first; empty where there is no folder."""
    if not folder.is_dir():
        return {}
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return dict(sorted((int(name[1]), path) for name, path in named if name))
