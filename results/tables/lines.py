"""All numbers as CSV, for programs: one per line, not rounded, with all that traces it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from results.current import Comparison
from results.published import Published
from results.subjects import MODEL
from results.tables.building import name_of
from results.tables.table import Table

COUNTS = ("num_clips", "num_trajectories", "num_frames", "given_frames", "num_steps", "seed", "clips_seen", "rank")


def to_csv(comparisons: Sequence[Comparison], published: Published, tables: Sequence[Table]) -> str:
    """The lines; `missing` says why a number is not there.

    Args:
        comparisons: our rows.
        published: rows of others.
        tables: where the ranks stand; a published number has its rank in the first table that shows it.
    """
    published_ranks, own_ranks = _ranks(tables)
    lines: list[dict[str, Any]] = []
    for row in published.rows:
        for metric, value in row.values.items():
            lines.append({
                "kind": "published", "method": row.method, "dataset": published.dataset,
                "frame_height_px": published.frame_height_px, "task": published.task, "protocol": published.protocol,
                "metric": metric, "value": value, "rank": published_ranks.get((row.method, metric)), "missing": None,
                "doubt": row.doubts.get(metric), "source": row.source, "listed_in": row.listed_in,
                "protocol_facts": row.protocol.text, "num_clips": row.protocol.clips,
                "num_trajectories": row.protocol.trajectories, "num_frames": published.num_frames,
                "given_frames": published.given_frames,
            })  # fmt: skip
    records = ((c, r) for c in comparisons for row in c.rows for r in row.by_metric.values())
    for comparison, record in records:
        label, _ = name_of(record)
        kind = "model" if record.subject == MODEL else "reference"
        lines.append({
            "kind": kind, "method": label, "frame_height_px": comparison.frame_height_px, **vars(record),
            "rank": own_ranks.get(record.key),
        })  # fmt: skip
    frame = pd.DataFrame(lines)
    # Whole numbers stay whole where other lines have none.
    frame[list(COUNTS)] = frame[list(COUNTS)].astype("Int64")
    return frame.to_csv(index=False)


def _ranks(tables: Sequence[Table]) -> tuple[dict[tuple[str, str], int | None], dict[tuple[object, ...], int | None]]:
    """Ranks of published numbers by method and metric, and of ours by the record's key."""
    others: dict[tuple[str, str], int | None] = {}
    own: dict[tuple[object, ...], int | None] = {}
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                if cell.record is not None:
                    own[cell.record.key] = cell.rank
                elif cell.value is not None:
                    others.setdefault((row.label, column.metric), cell.rank)
    return others, own
