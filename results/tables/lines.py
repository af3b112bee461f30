"""All numbers as CSV, for programs: one per line, not rounded, with all that traces it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from results.current import Comparison
from results.metrics import base
from results.published import Published
from results.subjects import MODEL
from results.tables.building import name_of
from results.tables.table import Table

COUNTS = ("num_clips", "num_trajectories", "num_frames", "given_frames", "num_steps", "seed", "clips_seen",
          "floor_clips", "rank")  # fmt: skip


def to_csv(comparisons: Sequence[Comparison], groups: Sequence[Published], tables: Sequence[Table]) -> str:
    """The lines; `missing` says why a number is not there.

    Args:
        comparisons: our rows.
        groups: rows of others, all of them.
        tables: where the ranks stand; a published number has its rank in the first table that
            shows it.
    """
    published_ranks, own_ranks = _ranks(tables)
    lines: list[dict[str, Any]] = []
    for group, row in ((one, row) for one in groups for row in one.rows):
        for metric, value in row.values.items():
            lines.append({
                "kind": "published", "method": row.method, "dataset": group.dataset,
                "frame_height_px": group.frame_height_px, "task": group.task, "protocol": group.protocol,
                "metric": metric, "better": base.find(metric).direction, "value": value,
                "rank": published_ranks.get((group.conditions, row.method, metric)), "missing": None,
                "doubt": row.doubts.get(metric), "source": row.source, "listed_in": row.listed_in,
                "protocol_facts": row.protocol.text, "num_clips": row.protocol.clips,
                "num_trajectories": row.protocol.trajectories, "num_frames": group.num_frames,
                "given_frames": group.given_frames,
            })  # fmt: skip
    records = ((c, r) for c in comparisons for row in c.rows for r in row.by_metric.values())
    for comparison, record in records:
        label, _ = name_of(record)
        kind = "model" if record.subject == MODEL else "reference"
        lines.append({
            "kind": kind, "method": label, "frame_height_px": comparison.frame_height_px, **vars(record),
            "better": base.find(record.metric).direction, "rank": own_ranks.get(record.key),
        })  # fmt: skip
    frame = pd.DataFrame(lines)
    # Whole numbers stay whole where other lines have none.
    frame[list(COUNTS)] = frame[list(COUNTS)].astype("Int64")
    return frame.to_csv(index=False)


def _ranks(tables: Sequence[Table]) -> tuple[dict[tuple[str, ...], int | None], dict[tuple[object, ...], int | None]]:
    """Ranks of published numbers by conditions, method and metric, and of ours by the record's key."""
    others: dict[tuple[str, ...], int | None] = {}
    own: dict[tuple[object, ...], int | None] = {}
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                if cell.record is not None:
                    own[cell.record.key] = cell.rank
                elif cell.value is not None:
                    others.setdefault((column.conditions, row.label, column.metric), cell.rank)
    return others, own
