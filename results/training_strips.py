"""What the page shows of the film strips that were drawn while the model trained: the first, the middle, the last."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from results.notes import Notes
from vdt_hpc.errors import UserError
from vdt_hpc.store import strips


@dataclass(frozen=True)
class TrainingStrip:
    """One of them."""

    clips_seen: int
    webp: bytes
    """The picture as WebP, an eighth of the PNG's size."""


def load(folder: Path, notes: Notes) -> list[TrainingStrip]:
    """Three strips of a training, oldest first; fewer where there are fewer. A damaged one is noted.

    Args:
        folder: of the strips.
        notes: of the report.
    """
    found = list(strips.find(folder).items())
    chosen = sorted({0, (len(found) - 1) // 2, len(found) - 1}) if found else []
    shown = []
    for clips_seen, path in (found[number] for number in chosen):
        with notes.instead_of("training", f"The film strip after {clips_seen:,} clips is"):
            shown.append(TrainingStrip(clips_seen, _webp(path)))
    return shown


def caption(shown: Sequence[TrainingStrip]) -> str:
    """What one sees on them; there must be one at least."""
    *before, last = [f"{strip.clips_seen:,}" for strip in shown]
    after = f"{', '.join(before)} and {last}" if before else last
    return f"What the averaged weights generate for the same validation clips after {after} clips."


def _webp(path: Path) -> bytes:
    buffer = io.BytesIO()
    try:
        with Image.open(path) as picture:
            picture.convert("RGB").save(buffer, "WEBP", quality=85, method=2)
    except (OSError, SyntaxError) as error:  # Pillow's words for a broken PNG, by where it breaks
        raise UserError(f"{path} is damaged ({error}); remove it and run report again") from None
    return buffer.getvalue()
