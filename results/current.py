"""Which records of a run stand for its present state: those of its newest checkpoint, whatever the task and protocol,
on the latents that lie here; others are history.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from results.subjects import MODEL
from vdt_hpc.experiment.tasks_config import TASKS
from vdt_hpc.store.records import Record

Key = TypeVar("Key")


@dataclass(frozen=True)
class Measured:
    """What one subject scored under one set of conditions: a row of a table."""

    subject: str
    first: Record
    """Any of its records: they differ in metric and outcome alone, and those of a row beside several runs' models in
    the run that measured."""
    by_metric: dict[str, Record]


@dataclass(frozen=True)
class Comparison:
    """One task by one protocol: rows that may be compared with each other."""

    dataset: str
    frame_height_px: int
    task: str
    protocol: str
    num_frames: int
    given_frames: int
    rows: tuple[Measured, ...]
    """The model (once for each sampler), then the rows beside it."""

    @property
    def model(self) -> Measured:
        """The model's first row."""
        return self.rows[0]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of any row."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.by_metric))


def numbers_first(records: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, Record]:
    """One record of each thing that was measured several times: the first that has a number, else the first reason.

    Args:
        records: any.
        key: what they measure.
    """
    found: dict[Key, Record] = {}
    for record in records:
        held = found.setdefault(key(record), record)
        if held.value is None and record.value is not None:
            found[key(record)] = record
    return found


def newest(records: Sequence[Record], frame_height_px: int, latents_here: str | None = None) -> list[Comparison]:
    """Group the records of the newest checkpoint of a run, and those beside them, in order of task and protocol.

    Args:
        records: of one run.
        frame_height_px: height of its frames.
        latents_here: fingerprint of the latents that lie here; where nothing was measured on them, or none lie here,
            those of the newest checkpoint's latest record count.
    """
    of_model = _present([record for record in records if record.subject == MODEL], latents_here)
    beside = _grouped((record for record in records if record.subject != MODEL), _kind_and_conditions)
    comparisons = []
    for (kind, conditions), models in _grouped(of_model, _kind_and_conditions).items():
        chosen = [*models, *beside.get((kind, conditions), ())]
        counts = (models[0].num_frames, models[0].given_frames)
        dataset, task, protocol = kind
        comparisons.append(Comparison(dataset, frame_height_px, task, protocol, *counts, tuple(_rows(chosen))))
    return sorted(comparisons, key=lambda one: _place((one.dataset, one.task, one.protocol)))


def _present(of_model: Sequence[Record], latents_here: str | None) -> list[Record]:
    """Of the model's records those of one checkpoint on one set of latents."""
    if not of_model:
        return []
    on = latents_here
    if on not in {record.latents_fingerprint for record in of_model}:
        clips_seen = max(record.clips_seen or 0 for record in of_model)
        on = [record for record in of_model if (record.clips_seen or 0) == clips_seen][-1].latents_fingerprint
    fitting = [record for record in of_model if record.latents_fingerprint == on]
    clips_seen = max(record.clips_seen or 0 for record in fitting)
    return [record for record in fitting if (record.clips_seen or 0) == clips_seen]


def side_by_side(runs: Sequence[Sequence[Comparison]]) -> list[Comparison]:
    """What several runs measured under the same conditions, together: the models of all, then the rows beside them.

    Args:
        runs: of each run, what `newest` found.
    """
    together: dict[tuple[object, ...], list[Comparison]] = {}
    for comparison in (one for run in runs for one in run):
        key = (comparison.dataset, comparison.frame_height_px, comparison.task, comparison.protocol)
        together.setdefault((*key, _conditions(comparison.model.first)), []).append(comparison)
    found = [replace(same[0], rows=_all_rows(same)) for same in together.values()]
    return sorted(found, key=lambda one: _place((one.dataset, one.task, one.protocol)))


def _all_rows(same: Sequence[Comparison]) -> tuple[Measured, ...]:
    """The models, and each row beside them once, with all that any run has measured of it."""
    rows = [row for comparison in same for row in comparison.rows]
    beside = (record for row in rows if row.subject != MODEL for record in row.by_metric.values())
    once = numbers_first(beside, lambda one: (one.subject, one.decode_precision, one.metric))
    return (*(row for row in rows if row.subject == MODEL), *_rows(once.values()))


def _place(kind: tuple[str, str, str]) -> tuple[str, int, str]:
    dataset, task, protocol = kind
    order: list[str] = list(TASKS)
    return (dataset, order.index(task), protocol)


def _kind_and_conditions(record: Record) -> tuple[tuple[str, str, str], tuple[object, ...]]:
    return (record.dataset, record.task, record.protocol), _conditions(record)


def _conditions(record: Record) -> tuple[object, ...]:
    return (record.num_clips, record.num_frames, record.given_indices, record.latents_fingerprint)


def _rows(records: Iterable[Record]) -> list[Measured]:
    by_row = _grouped(records, lambda r: (r.subject, r.samples, r.decode_precision))
    return [Measured(own[0].subject, own[0], {r.metric: r for r in own}) for own in by_row.values()]


def _grouped(records: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    """Records by what they have in common; groups and their records keep the order."""
    groups: dict[Key, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups
