"""Remarks on a model that passes what the rows beside it say is possible, and on such rows that are missing."""

from collections import Counter
from collections.abc import Sequence

from results import wording
from results.current import Comparison, Measured
from results.metrics import base
from results.metrics.base import SetMetric
from results.subjects import AUTOENCODER, COPY, MODEL, REAL, SUBJECTS
from results.tables.building import NAMES, name_of
from vdt_hpc.store.records import Record


def remarks(comparison: Comparison) -> list[str]:
    """A line for each number above the ceiling or below the floor, for each model that copying beats, for each gap."""
    models = [row for row in comparison.rows if row.subject == MODEL]
    named = list(zip(_names(models), models, strict=True))
    lines = [line for name, row in named for line in _above_the_ceiling(comparison, name, row)]
    lines += [line for name, row in named for line in _below_the_floor(comparison, name, row)]
    lines += [line for name, row in named for line in _no_better_than_copies(comparison, name, row)]
    missing = set(SUBJECTS) - {row.subject for row in comparison.rows}
    names = [{COPY: "copy last frame"}.get(one) or NAMES[one][0].lower() for one in SUBJECTS if one in missing]
    if names:
        lines.append(f"Rows without a record: {wording.listed(names)}; run the stage evaluate again.")
    return lines


def _above_the_ceiling(comparison: Comparison, name: str, model: Measured) -> list[str]:
    """The autoencoder's own reconstruction of the same frames, decoded in the same arithmetic, is the ceiling."""
    return [
        f"{_said(name, record)} is better than that of the autoencoder's own reconstruction, "
        f"{_number(other)}, as no model of its latents should be: either it scores higher without detail, or something "
        "is wrong."
        for record, other in _pairs(comparison, model, AUTOENCODER)
        if _is_better(record, other) and record.decode_precision == other.decode_precision
    ]


def _below_the_floor(comparison: Comparison, name: str, model: Measured) -> list[str]:
    """The distance of real clips from each other is the floor of a distance between as many clips on each side alone:
    of one distribution, it falls with their number.
    """
    return [
        f"{_said(name, record)} is below that of real clips against real ones, {_number(other)} between "
        f"two sets of {other.floor_clips}: too few clips to tell, or samples that repeat the truth."
        for record, other in _pairs(comparison, model, REAL)
        if _has_sides_of(record, other) and _is_better(record, other)
    ]


def _no_better_than_copies(comparison: Comparison, name: str, model: Measured) -> list[str]:
    """Copied frames are what every model should beat."""
    pairs = _pairs(comparison, model, COPY)
    labels = [base.find(record.metric).label for record, other in pairs if not _is_better(record, other)]
    return [f"{name} is no better than copied frames in {wording.listed(labels)}."] if labels else []


def _pairs(comparison: Comparison, model: Measured, subject: str) -> list[tuple[Record, Record]]:
    """Numbers of the model, each with every one of a row beside it."""
    rows = [row for row in comparison.rows if row.subject == subject]
    pairs = [
        (record, row.by_metric[name])
        for row in rows
        for name, record in model.by_metric.items()
        if name in row.by_metric
    ]
    return [(record, other) for record, other in pairs if record.value is not None and other.value is not None]


def _has_sides_of(record: Record, other: Record) -> bool:
    """Whether a distance of real clips is between as many on each side as the model's."""
    metric = base.find(record.metric)
    return isinstance(metric, SetMetric) and metric.over != "pooled" and other.floor_clips == record.num_clips


def _is_better(record: Record, other: Record) -> bool:
    assert record.value is not None and other.value is not None
    difference = record.value - other.value
    return difference > 0 if base.find(record.metric).direction == "up" else difference < 0


def _said(name: str, record: Record) -> str:
    return f"{name}: {base.find(record.metric).label} of {_number(record)}"


def _names(models: Sequence[Measured]) -> list[str]:
    """Names of rows, with what tells those of one name apart."""
    told = [name_of(row.first) for row in models]
    labels = Counter(label for label, _ in told)
    return [label if labels[label] == 1 else f"{label} ({detail})" for label, detail in told]


def _number(record: Record) -> str:
    assert record.value is not None
    return base.find(record.metric).shown(record.value)
