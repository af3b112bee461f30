"""Pretrained weights that metrics need: found in one folder, never fetched here, never replaced by random ones."""

from pathlib import Path

from vdt_hpc.experiment.paths import weights_dir

MARK = "weights not found: "
"""Part of every reason that a file which appears later would lift."""


class MissingWeights(Exception):
    """Pretrained weights are not there; the message says which and where to put them."""


def find(what: str, names: tuple[str, ...]) -> Path:
    """Path of the first of several file names that lies in the folder of weights.

    Args:
        what: whose weights, such as `I3D`.
        names: file names, the preferred one first.

    Raises:
        MissingWeights: none is there.
    """
    for name in names:
        if (weights_dir() / name).is_file():
            return weights_dir() / name
    raise MissingWeights(f"{what} {MARK}put {names[0]} into the folder weights/ or into $VDT_HPC_WEIGHTS")


def reason_if_missing(what: str, names: tuple[str, ...]) -> str | None:
    """Why weights cannot be used, or None where they can."""
    try:
        find(what, names)
    except MissingWeights as missing:
        return str(missing)
    return None
