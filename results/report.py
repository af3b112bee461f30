"""Stage `report`: records, samples and the training's log -> tables, figures and a page."""

from collections.abc import Mapping, Sequence
from functools import partial

from results import (
    by_frame,
    by_frame_figure,
    by_time,
    by_time_figure,
    course,
    course_figure,
    current,
    data_notes,
    figures,
    film,
    film_frames,
    known,
    page,
    progress_curve,
    protocol_table,
    published,
    training_strips,
    videos,
)
from results.by_time import ByTime
from results.course import Part
from results.current import Comparison
from results.film import Film
from results.notes import Notes, NotThere
from results.progress_curve import Curve
from results.shown import DrawnFilm
from results.subjects import MODEL
from results.tables import latex, lines, markdown
from vdt_hpc import files, pictures
from vdt_hpc.dist import current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.pictures import Picture
from vdt_hpc.store.manifest import read_manifest
from vdt_hpc.store.samples import SampleSet


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Write `tables/`, `figures/` and `index.html` of a run, from its newest checkpoint's records; rank 0 does it all.

    What cannot be shown is a note on the page and in the summary.

    Raises:
        UserError: there are no records, or they are damaged; or, after everything else is written, another file is.
    """
    if current_task().rank != 0:
        return StageResult("rank 0 writes the report")
    paths, notes = paths_for(config, partition), Notes()
    manifest = None
    with notes.instead_of("provenance", "What the latents say of the data is"):
        manifest = read_manifest(paths.latents)
    latents_here = manifest.fingerprint if manifest else None
    comparisons = current.newest(known.records(paths.records, notes), config.data.frame_height_px, latents_here)
    if not comparisons:
        why = " ".join(["", *notes.of("results")])
        raise UserError(f"no records of this run in {paths.records}; run the stage evaluate first.{why}".rstrip("."))
    others = published.load()
    built = [protocol_table.build(config.evaluate, one, others) for one in comparisons]
    films = _films(config, paths, comparisons, notes)
    sets = {one.info.name: SampleSet(paths.samples / one.info.name, one.info) for one in films}
    content = page.Content(
        config=config,
        comparisons=comparisons,
        tables=built,
        films=[_draw(one, paths, stem, sets, notes) for one, stem in zip(films, _stems(films), strict=True)],
        by_time=_by_time(config, paths, comparisons, sets, notes),
        curve=_curve(paths, notes),
        course=_course(paths, notes),
        training_strips=training_strips.load(paths.strips, notes),
        manifest=manifest,
        notes=notes,
    )
    measured_on = {row.first.latents_fingerprint for comparison in comparisons for row in comparison.rows}
    beside = [*notes.to_markdown(), *data_notes.to_markdown(manifest, measured_on)]
    written = {
        paths.tables / "results.md": "\n".join([markdown.to_markdown(built), *beside]),
        paths.tables / "results.csv": lines.to_csv(comparisons, others, built),
        paths.tables / "results.tex": latex.to_latex(built),
        paths.page: page.render(content),
    }
    for path, text in written.items():  # once all are made, so that a page stands beside its own tables
        files.write_text(path, text)
    checkpoint = comparisons[0].model.first.checkpoint
    outputs = {"table": paths.tables / "results.md", "figures": paths.figures, "page": paths.page}
    return notes.result(
        f"reported {checkpoint}: {len(built)} table(s), {len(films)} film strip(s)",
        {label: str(path) for label, path in outputs.items()},
    )


def _films(config: RunConfig, paths: RunPaths, comparisons: list[Comparison], notes: Notes) -> list[Film]:
    """Films of every sample set in the tables."""
    found = []
    names = dict.fromkeys(
        row.first.samples for comparison in comparisons for row in comparison.rows if row.subject == MODEL
    )
    for name in names:
        assert name is not None  # a record of the model names its samples
        with notes.instead_of("samples", f"The samples {name} are"):
            found.append(film.load(config, paths, name))
    return found


def _draw(one: Film, paths: RunPaths, stem: str, sets: Mapping[str, SampleSet], notes: Notes) -> DrawnFilm:
    """Write a film's strip, its videos and the figure of its quality frame by frame, where that was measured.

    Args:
        one: the film.
        paths: of the run.
        stem: part of the files' names.
        sets: all sample sets that are shown, by name.
        notes: of the report.
    """
    strip = pictures.draw(partial(pictures.film_strip, one.strip()), paths.figures / f"strip-{stem}")
    video, frames = paths.figures / f"video-{stem}.mp4", film_frames.FilmFrames(one)
    rate_hz = one.rate_hz or film.UNKNOWN_HZ
    if videos.has_h264():
        videos.write_mp4(frames, rate_hz, video)
    else:
        video.unlink(missing_ok=True)  # one of other samples
    videos.write_gif(frames, rate_hz, video.with_suffix(".gif"))
    measured = by_frame.load(sets[one.info.name], list(sets.values()), notes)
    if measured is None:
        return DrawnFilm(one, video, strip, None)
    picture = pictures.draw(partial(by_frame_figure.draw, measured), paths.figures / f"frames-{stem}")
    return DrawnFilm(one, video, strip, (measured, picture))


def _stems(films: Sequence[Film]) -> list[str]:
    """Part of the names of each film's files: task, sampler and steps, and what tells sets apart that share these."""
    stems = [f"{one.info.task}-{one.info.sampler}-{one.info.num_steps}" for one in films]
    return [
        stem if stems.count(stem) == 1 else f"{stem}-{one.info.name.rpartition('-')[2]}"
        for one, stem in zip(films, stems, strict=True)
    ]


def _by_time(
    config: RunConfig, paths: RunPaths, comparisons: list[Comparison], sets: Mapping[str, SampleSet], notes: Notes
) -> list[tuple[ByTime, Picture]]:
    """Tasks that were sampled in several ways."""
    found: list[ByTime] = []
    with notes.instead_of("samples", "Quality over sampling time is"):
        found = by_time.load(comparisons, sets, config.evaluate.protocol)
    places = [paths.figures / f"time-{one.comparison.task}" for one in found]
    return [
        (one, pictures.draw(partial(by_time_figure.draw, one), path)) for one, path in zip(found, places, strict=True)
    ]


def _curve(paths: RunPaths, notes: Notes) -> tuple[Curve, Picture] | None:
    curve = None
    with notes.instead_of("training", "The loss curve is"):
        curve = progress_curve.read(paths.progress_log)
        if curve is None:
            raise NotThere(f"there is no training log {paths.progress_log}")
        if not curve.train:
            raise NotThere(f"{paths.progress_log} tells of no update yet")
    if curve is None or not curve.train:
        return None
    return curve, pictures.draw(partial(figures.loss_curve, curve), paths.figures / "loss")


def _course(paths: RunPaths, notes: Notes) -> tuple[Sequence[Part], Picture] | None:
    parts: Sequence[Part] = ()
    with notes.instead_of("training", "The course of the jobs is"):
        parts = course.load(paths)
    return (parts, pictures.draw(partial(course_figure.timeline, parts), paths.figures / "jobs")) if parts else None
