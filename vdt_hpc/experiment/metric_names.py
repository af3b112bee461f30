"""Which metrics there are, and what may stand after the colon: read off their files, since login nodes lack numpy."""

import re

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import checkout

WORDS: dict[str, dict[str, str]] = {
    "FrameMetric": {"mean": "mean of trajectories", "best": "best trajectory"},
    "SetMetric": {"mean": "mean of trajectories", "pooled": "trajectories pooled"},
}
"""Kind of metric -> what may stand after the colon, and how tables say it."""
_FOLDER = checkout() / "results" / "metrics"
_KIND = re.compile(r"^METRIC\b[^=\n]*=\s*([\w.]+)\(", re.MULTILINE)


def require(name: str) -> None:
    """Do nothing if there is a metric of a name, such as `ssim`, or `ssim:best` for the best trajectory of each clip.

    Raises:
        UserError: there is none, or its kind knows no such word after the colon.
    """
    plain, _, over = name.partition(":")
    files = {path.stem.replace("_", "-"): path for path in sorted(_FOLDER.glob("[!_]*.py")) if path.stem != "base"}
    if plain not in files:
        raise UserError(
            f"unknown metric {plain!r}: there is no results/metrics/{plain.replace('-', '_')}.py; there are "
            f"{', '.join(files)}"
        )
    made = _KIND.search(files[plain].read_text(encoding="utf-8"))
    words = WORDS.get(made[1].rpartition(".")[2] if made else "", {word for each in WORDS.values() for word in each})
    if over and over not in words:
        raise UserError(f"unknown metric {name!r}: after the colon, {plain} takes {' or '.join(sorted(words))}")
