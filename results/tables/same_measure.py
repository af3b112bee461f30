"""Remarks on numbers of one column that were not measured by the same thing, or not by the weights that others use."""

import functools

from results import wording
from results.current import Comparison
from results.metrics import base
from vdt_hpc.experiment import weights_table
from vdt_hpc.store.records import Record


def remarks(comparison: Comparison) -> list[str]:
    """A line for each metric whose rows differ in its definition or weights, or that has weights nobody knows."""
    lines = []
    for metric in comparison.metrics:
        records = [row.by_metric[metric] for row in comparison.rows if metric in row.by_metric]
        lines += _of_metric(metric, [record for record in records if record.value is not None])
    return lines


def _of_metric(name: str, records: list[Record]) -> list[str]:
    label, lines = base.find(name).label, []
    if len({(record.definition, record.weights_sha256) for record in records}) > 1:
        lines.append(
            f"{label}: the rows were measured by different definitions of it or by different weights, and do not "
            "compare; run the stage evaluate of each run again."
        )
    strange = [sha256 for sha256 in dict.fromkeys(record.weights_sha256 for record in records) if not _is_known(sha256)]
    if strange:
        shown = wording.listed([f"{sha256[:16]}…" for sha256 in strange if sha256])
        lines.append(
            f"{label}: measured by weights of SHA-256 {shown}, which are not those of configs/weights.yaml: the "
            "numbers compare with none that others have published."
        )
    return lines


def _is_known(sha256: str | None) -> bool:
    """True also where no weights are needed."""
    return sha256 is None or any(sha256.startswith(known) for known in _known())


@functools.cache
def _known() -> tuple[str, ...]:
    """SHA-256s of the table, or their first digits."""
    entries = weights_table.load().weights
    return tuple(file.sha256 for entry in entries for file in entry.files if file.sha256)
