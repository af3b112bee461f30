"""Stage `compare`: records of all runs under the root, or of some anywhere -> tables and a page, side by side.

    <root>/*/records.jsonl -> <root>/comparison/index.html, results.md, results.csv, results.tex

Runs stand in one table where they were measured under the same conditions: data set, latents, task, protocol, clips.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from results import current, known, protocol_table, published, templates
from results.current import Comparison
from results.metrics import base
from results.notes import Notes
from results.tables import latex, lines, markdown
from results.tables.table import MOST_ROWS, RANKED, Table
from vdt_hpc import files
from vdt_hpc.dist import current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, children_of, paths_for
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.stages import COMPARED, StageResult
from vdt_hpc.store.manifest import read_manifest


@dataclass(frozen=True)
class _Run:
    """One run that was measured."""

    name: str
    """Its folder's; of several of one name, the whole path."""
    config: RunConfig
    folder: Path
    comparisons: list[Comparison]


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Put the runs under the partition's root side by side, or those that `stages.COMPARED` names; rank 0 does it all.
    Of the run, only the root counts.

    One whose files are damaged is left out, which the page and the summary say.

    Raises:
        UserError: no run has records that can be read.
    """
    if current_task().rank != 0:
        return StageResult("rank 0 compares")
    paths, notes = paths_for(config, partition), Notes()
    named = os.environ.get(COMPARED)
    folders = [Path(folder) for folder in json.loads(named)] if named else children_of(paths.root)
    runs, left_out = _measured(folders, notes)
    if not runs:
        where = ", ".join(map(str, folders)) if named else f"under {paths.root}"
        reasons = "; ".join([*left_out, *notes.of("results")])
        why = f" ({reasons})" if reasons else ""
        raise UserError(f"no run {where} has records{why}; run the stage evaluate first")
    comparisons = current.side_by_side([one.comparisons for one in runs])
    others = published.load()
    tables = [protocol_table.build(runs[0].config.evaluate, one, others) for one in comparisons]
    folder = paths.comparison
    files.write_text(folder / "results.md", "\n".join([markdown.to_markdown(tables), *notes.to_markdown()]))
    files.write_text(folder / "results.csv", lines.to_csv(comparisons, others, tables))
    files.write_text(folder / "results.tex", latex.to_latex(tables))
    files.write_text(folder / "index.html", _page(folder, runs, left_out, comparisons, tables, notes))
    done = f"compare: {len(runs)} run(s) in {len(tables)} table(s)" + "".join(f"; left out {one}" for one in left_out)
    return notes.result(done, {"page": str(folder / "index.html"), "table": str(folder / "results.md")})


def _measured(folders: Sequence[Path], notes: Notes) -> tuple[list[_Run], list[str]]:
    """Runs among some folders that have records of their newest checkpoint; and why others cannot be read."""
    found, left_out = [], []
    names = Counter(folder.name for folder in folders)
    for folder in folders:
        stored = folder / "config.yaml"
        name = folder.name if names[folder.name] == 1 else str(folder)
        try:
            with files.readable(folder):
                if not stored.is_file():
                    continue
            config = strict.load(RunConfig, stored).model_copy(update={"name": folder.name})
            paths = RunPaths(config, folder.parent)
            records = known.records(paths.records, notes)
        except UserError as error:
            left_out.append(f"{name}: {error}")
            continue
        if name != folder.name:
            records = [replace(record, run=name) for record in records]
        manifest = None
        with notes.instead_of("results", f"What lies in the latents of {name} is"):
            manifest = read_manifest(paths.latents)
        latents_here = manifest.fingerprint if manifest else None
        comparisons = current.newest(records, config.data.frame_height_px, latents_here)
        if comparisons:
            found.append(_Run(name, config, folder, comparisons))
    return found, left_out


def _page(
    folder: Path, runs: Sequence[_Run], left_out: Sequence[str], comparisons: Sequence[Comparison],
    tables: Sequence[Table], notes: Notes,
) -> str:  # fmt: skip
    names = dict.fromkeys(name for comparison in comparisons for name in comparison.metrics)
    return templates.environment().get_template("compare.html.jinja").render(
        title=f"{len(runs)} run{'s' if len(runs) > 1 else ''} side by side",
        lead="Runs that were measured under the same conditions stand in one table, each by its newest checkpoint.",
        tables=tables,
        ranked=RANKED,
        most_rows=MOST_ROWS,
        runs=[_row(one, folder) for one in runs],
        left_out=left_out,
        notes=notes,
        metrics=[base.find(name) for name in names],
    )  # fmt: skip


def _row(one: _Run, folder: Path) -> dict[str, Any]:
    """A run in the list of runs; links lead from the page's folder."""
    config, record = one.config, one.comparisons[0].model.first
    own_page = one.folder / "index.html"
    return {
        "name": one.name,
        "page": quote(os.path.relpath(own_page, folder)) if own_page.is_file() else "",
        "data": f"{config.data.dataset}, {config.data.frame_height_px} px",
        "model": f"depth {config.model.depth}, width {config.model.width}",
        "clips_seen": record.clips_seen,
        "checkpoint": record.checkpoint,
        "signature": signature(config),
    }
