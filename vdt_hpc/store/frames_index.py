"""Where the index of a run's frames is kept, and what it counts, which a login node may read in a moment.

<root>/indexes/<dataset>-<recipe>.json   the index itself: many MB
                                 .md     the report on it, for people
                                 .counts.json
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from vdt_hpc import files
from vdt_hpc.experiment.config import RunConfig, Split
from vdt_hpc.experiment.paths import RunPaths

_FIELDS = (
    "source", "frames_per_clip", "frame_rate_hz", "filmed_rate_hz", "val_clips_per_video", "test_clips_per_video"
)  # fmt: skip


@dataclass(frozen=True)
class IndexCounts:
    """What an index found."""

    num_clips: dict[Split, int]
    """By split, without those that have a fault."""
    num_frames: int
    """Of these clips."""
    num_files: int
    num_bytes: int
    """Of all files."""
    num_faults: int


def index_recipe(config: RunConfig, paths: RunPaths) -> dict[str, Any]:
    """What decides which clips there are."""
    return {"source": str(paths.frames), "data": {name: getattr(config.data, name) for name in _FIELDS}}


def index_path(config: RunConfig, paths: RunPaths) -> Path:
    """Where a run's index is kept."""
    digest = sha256(json.dumps(index_recipe(config, paths), sort_keys=True).encode()).hexdigest()
    return paths.indexes / f"{config.data.dataset}-{digest[:12]}.json"


def report_path(config: RunConfig, paths: RunPaths) -> Path:
    """Where the report on a run's index lies."""
    return index_path(config, paths).with_suffix(".md")


def write_counts(config: RunConfig, paths: RunPaths, counts: IndexCounts) -> None:
    """Write what an index counts beside it, also if it is what was there: the file's time tells when that was so.

    Raises:
        UserError: the folder cannot be written.
    """
    files.write_json(_counts_path(config, paths), asdict(counts))


def read_counts(config: RunConfig, paths: RunPaths) -> IndexCounts | None:
    """What the last index of a run's frames counted; None where there is none that can be read."""
    path = _counts_path(config, paths)
    try:
        return IndexCounts(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # an index writes it anew
        return None


def counted_at(config: RunConfig, paths: RunPaths) -> datetime:
    """When the counts that `read_counts` gives were last found to be so, on this machine's clock."""
    return datetime.fromtimestamp(_counts_path(config, paths).stat().st_mtime).astimezone()


def _counts_path(config: RunConfig, paths: RunPaths) -> Path:
    return index_path(config, paths).with_suffix(".counts.json")
