"""Latents that are still being encoded: which of their shards are finished, and when. Reading it needs no h5py.

<run>/latents.json        which folder of latents the stage encode fills for the run
<latents>/encoding.json   how many shards and frames it will hold
"""

from dataclasses import dataclass
from pathlib import Path

from vdt_hpc import files
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.store.manifest import ENCODING, MANIFEST


@dataclass(frozen=True)
class Encoding:
    """Latents without a manifest."""

    num_shards: int
    """Shards that there will be."""
    num_frames: int
    """Frames in all of them."""
    begun_s: float
    """When the first task began; seconds since the epoch, as the next."""
    finished_s: tuple[float, ...]
    """When each finished shard was finished, sorted."""


def note_latents(paths: RunPaths) -> None:
    """Write down which latents a run is encoding, for those who know nothing but the run's folder.

    Raises:
        UserError: the run's folder cannot be written.
    """
    content = {"latents": paths.latents.name}
    if not paths.latents_note.exists() or files.read_json(paths.latents_note) != content:
        files.write_json(paths.latents_note, content)


def read_encoding(paths: RunPaths) -> Encoding | None:
    """How far a run's latents are, or None where none are being encoded: not begun, or finished.

    Args:
        paths: of the run; its configuration is not asked, which is written down by training alone.

    Raises:
        UserError: a file is damaged or cannot be read.
    """
    if not paths.latents_note.is_file():
        return None
    folder = paths.root / "latents" / str(files.read_json(paths.latents_note).get("latents"))
    path = folder / ENCODING
    if (folder / MANIFEST).exists() or not path.is_file():
        return None
    made_from = files.read_json(path)
    if not {"num_shards", "num_frames"} <= made_from.keys():
        return None
    times = sorted(_changed_s(shard) for shard in folder.glob("*.h5"))
    return Encoding(int(made_from["num_shards"]), int(made_from["num_frames"]), _changed_s(path), tuple(times))


def _changed_s(path: Path) -> float:
    return path.stat().st_mtime
