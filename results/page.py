"""The page: one HTML file that shows all of a run, opens from disk and asks the network for nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from results import data_notes, shown, templates, training_strips, wording
from results.by_time import ByTime
from results.course import Part
from results.current import Comparison
from results.metrics import base
from results.notes import Notes
from results.progress_curve import Curve
from results.shown import DrawnFilm, data_uri
from results.tables.table import MOST_ROWS, RANKED, Table
from results.training_strips import TrainingStrip
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.signature import signature
from vdt_hpc.pictures import Picture
from vdt_hpc.store.manifest import Manifest

TEMPLATE = "page.html.jinja"


@dataclass(frozen=True)
class Content:
    """Everything that the page shows."""

    config: RunConfig
    comparisons: Sequence[Comparison]
    tables: Sequence[Table]
    films: Sequence[DrawnFilm]
    """Of several of one task, all but the first are folded."""
    by_time: Sequence[tuple[ByTime, Picture]]
    """Tasks that were sampled in several ways."""
    curve: tuple[Curve, Picture] | None
    """None: there is no log that can be shown."""
    course: tuple[Sequence[Part], Picture] | None
    """The jobs that trained the run; None: nobody knows."""
    training_strips: Sequence[TrainingStrip]
    manifest: Manifest | None
    notes: Notes
    """What is not shown, and why."""


def render(content: Content) -> str:
    """The whole page as HTML; whatever comes from configurations and records is escaped."""
    template = templates.environment().get_template(TEMPLATE)
    config = content.config
    known = {name for comparison in content.comparisons for name in comparison.metrics}
    names: list[str] = [name for name in config.evaluate.metrics if name in known]
    names += sorted(known - set(names))
    first, further = _first_of_each_task(content.films)
    return template.render(
        title=f"VDT on {config.data.dataset}: run {config.name}",
        lead=_lead(content),
        facts=_facts(content),
        tables=content.tables,
        ranked=RANKED,
        most_rows=MOST_ROWS,
        films=[shown.film(one) for one in first],
        further_films=[shown.film(one) for one in further],
        by_time=[shown.by_time(*one) for one in content.by_time],
        notes=content.notes,
        curve=_curve(*content.curve) if content.curve else None,
        timeline=shown.timeline(*content.course) if content.course else None,
        course=shown.course(content.course[0]) if content.course else None,
        training_strips=_training_strips(content.training_strips),
        metrics=[base.find(name) for name in names],
        provenance=_provenance(content),
        left_out=content.manifest.left_out if content.manifest else (),
        config=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
    )


def _first_of_each_task(films: Sequence[DrawnFilm]) -> tuple[list[DrawnFilm], list[DrawnFilm]]:
    """Those, and the others."""
    first: dict[str, DrawnFilm] = {}
    further = []
    for drawn in films:
        if first.setdefault(drawn.film.info.task, drawn) is not drawn:
            further.append(drawn)
    return list(first.values()), further


def _lead(content: Content) -> str:
    config = content.config
    tasks = wording.listed([wording.TASKS[task].lower() for task in dict.fromkeys(c.task for c in content.comparisons)])
    return (
        f"A video diffusion transformer on {config.data.dataset} at {config.data.frame_height_px} px: {tasks}, "
        "measured on the test split against the true frames and beside three rows that tell what a number means."
    )


def _facts(content: Content) -> list[tuple[str, str, str]]:
    config, record = content.config, content.comparisons[0].model.first
    model = config.model
    tasks = dict.fromkeys(comparison.task for comparison in content.comparisons)
    generated = f"{record.given_frames} given, " if record.given_frames else ""
    generated += f"{record.num_frames - record.given_frames} generated"
    if len(tasks) > 1:
        generated = f"{len(tasks)} tasks"
    return [
        ("Data", f"{config.data.dataset}, {config.data.frame_height_px} px", f"{record.num_clips} test clips measured"),
        ("Clip", f"{record.num_frames} frames", generated),
        ("Model", f"VDT, depth {model.depth}", f"width {model.width}, {model.num_heads} heads"),
        ("Trained", f"{record.clips_seen:,} clips seen", f"of {config.train.total_clips:,} planned"),
        ("Sampler", wording.way(record.sampler, record.num_steps),
         f"{record.num_trajectories} sample{'s' if record.num_trajectories > 1 else ''} per clip, seed {record.seed}"),
    ]  # fmt: skip


def _curve(curve: Curve, picture: Picture) -> dict[str, str]:
    first, last = curve.smoothed()[0], curve.smoothed()[-1]
    text = f"The smoothed training loss goes from {first[1]:.4g} to {last[1]:.4g} over {last[0]:,} clips"
    if curve.validation:
        text += f"; the last validation loss is {curve.validation[-1][1]:.4g}"
    restarts, moves = len(curve.restarts), sum(restart.moved for restart in curve.restarts)
    text += f"; {restarts} restart{'s' if restarts != 1 else ''}" if restarts else ""
    text += f", {moves} of them on another partition." if moves else "."
    return shown.figure(picture, f"Loss over clips seen. {text}", text)


def _training_strips(strips: Sequence[TrainingStrip]) -> dict[str, Any] | None:
    if not strips:
        return None
    sources = [(data_uri(strip.webp), f"Film strip after {strip.clips_seen:,} clips") for strip in strips]
    return {"pictures": sources, "caption": training_strips.caption(strips)}


def _provenance(content: Content) -> list[tuple[str, str]]:
    config = content.config
    records = [r for c in content.comparisons for row in c.rows for r in row.by_metric.values()]
    rows = [
        ("Run", f"{config.name} (signature {signature(config)})"),
        ("Checkpoint", ", ".join(sorted({r.checkpoint for r in records if r.checkpoint}))),
        ("Sample sets", ", ".join(dict.fromkeys(r.samples for r in records if r.samples))),
        (
            "Code that sampled",
            ", ".join(dict.fromkeys(drawn.film.info.code_commit for drawn in content.films)) or "not known",
        ),
        ("Code that measured", ", ".join(dict.fromkeys(r.code_commit for r in records))),
        ("Latents", ", ".join(dict.fromkeys(r.latents_fingerprint for r in records))),
    ]
    if content.manifest is not None:
        autoencoder = content.manifest.autoencoder
        rows.append(("Autoencoder", f"{autoencoder['source']} (SHA-256 {str(autoencoder['sha256'])[:16]}…)"))
        rows += data_notes.facts(content.manifest, {r.latents_fingerprint for r in records})
    return rows
