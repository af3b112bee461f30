"""Pretrained weights that metrics need: found in one folder, never fetched here, never replaced by random ones."""

import functools
from pathlib import Path

from vdt_hpc import files
from vdt_hpc.experiment.weights import REMEDY, MetricWeights

MARK = "weights not found: "
"""Part of every reason that a file which appears later would lift."""


class MissingWeights(Exception):
    """Pretrained weights are not there; the message says which and where to put them."""


def find(weights: MetricWeights) -> Path:
    """Path of the first of their file names that lies in the folder of weights.

    Raises:
        MissingWeights: none is there.
    """
    found = weights.find()
    if found is None:
        first = weights.files[0]
        raise MissingWeights(
            f"{weights.whose} {MARK}put {first} into the folder weights/ or into $VDT_HPC_WEIGHTS, as {REMEDY} "
            f"{weights.name} does"
        )
    return found


def reason_if_missing(weights: MetricWeights) -> str | None:
    """Why weights cannot be used, or None where they can."""
    try:
        find(weights)
    except MissingWeights as missing:
        return str(missing)
    return None


def sha256_of(weights: MetricWeights) -> str:
    """SHA-256 of the file that is used, read once in a process.

    Raises:
        MissingWeights: none is there.
    """
    path = find(weights)
    told = path.stat()
    return _sha256(path, told.st_size, told.st_mtime_ns)


@functools.cache
def _sha256(path: Path, num_bytes: int, mtime_ns: int) -> str:
    """Of a file as it is; another size or time is another file."""
    return files.sha256(path)
