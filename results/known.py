"""Numbers of metrics that there are still: who removes `results/metrics/motion.py` leaves its numbers behind."""

from collections import Counter
from pathlib import Path

from results.metrics import base
from results.notes import Notes
from vdt_hpc.errors import UserError
from vdt_hpc.store.records import Record, read_records


def reason_against(metric: str) -> str | None:
    """Why numbers of a metric cannot be shown, or None where they can."""
    try:
        base.find(metric)
    except UserError as error:
        return str(error)
    return None


def records(path: Path, notes: Notes) -> list[Record]:
    """Every record of a run whose metric is there; the others are noted.

    Args:
        path: `records.jsonl`.
        notes: of the report.

    Raises:
        UserError: the file is damaged.
    """
    found = read_records(path)
    counts = Counter(record.metric for record in found)
    against = {metric: reason for metric in counts if (reason := reason_against(metric))}
    for metric, reason in against.items():
        many = "records are" if counts[metric] > 1 else "record is"
        notes.add("results", f"{counts[metric]} {many} left out of {path}: {reason}")
    return [record for record in found if record.metric not in against]
