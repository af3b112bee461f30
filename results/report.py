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
from vdt_hpc.store.records import read_records
from vdt_hpc.store.samples import SampleSet


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Write `tables/`, `figures/` and `index.html` of a run, from its newest checkpoint's records; rank 0 does it all.

    Raises:
        UserError: there are no records, or what they were measured on is damaged.
    """
    if current_task().rank != 0:
        return StageResult("rank 0 writes the report")
    paths = paths_for(config, partition)
    manifest = read_manifest(paths.latents)
    latents_here = manifest.fingerprint if manifest else None
    comparisons = current.newest(read_records(paths.records), config.data.frame_height_px, latents_here)
    if not comparisons:
        raise UserError(f"no records of this run in {paths.records}; run the stage evaluate first")
    others = published.load()
    built = [protocol_table.build(config.evaluate, one, others) for one in comparisons]
    measured_on = {row.first.latents_fingerprint for comparison in comparisons for row in comparison.rows}
    notes_on_data = data_notes.to_markdown(manifest, measured_on)
    files.write_text(paths.tables / "results.md", "\n".join([markdown.to_markdown(built), *notes_on_data]))
    files.write_text(paths.tables / "results.csv", lines.to_csv(comparisons, others, built))
    files.write_text(paths.tables / "results.tex", latex.to_latex(built))

    films, notes = _films(config, paths, comparisons)
    sets = {one.info.name: SampleSet(paths.samples / one.info.name, one.info) for one in films}
    content = page.Content(
        config=config,
        comparisons=comparisons,
        tables=built,
        films=[_draw(one, paths, stem, sets) for one, stem in zip(films, _stems(films), strict=True)],
        by_time=_by_time(config, paths, comparisons, sets, notes),
        sample_notes=notes,
        curve=_curve(paths),
        course=_course(paths),
        training_strips=training_strips.load(paths.strips),
        manifest=manifest,
    )
    files.write_text(paths.page, page.render(content))
    checkpoint = comparisons[0].model.first.checkpoint
    return StageResult(
        f"reported {checkpoint}: {len(built)} table(s), {len(films)} film strip(s)",
        outputs={
            "table": str(paths.tables / "results.md"),
            "figures": str(paths.figures),
            "page": str(paths.page),
        },
    )


def _films(config: RunConfig, paths: RunPaths, comparisons: list[Comparison]) -> tuple[list[Film], list[str]]:
    """Films of every sample set in the tables; where one cannot be shown, the page says why."""
    found, notes = [], []
    names = dict.fromkeys(
        row.first.samples for comparison in comparisons for row in comparison.rows if row.subject == MODEL
    )
    for name in names:
        assert name is not None  # a record of the model names its samples
        try:
            found.append(film.load(config, paths, name))
        except UserError as error:
            notes.append(f"The samples {name} are not shown: {error}.")
    return found, notes


def _draw(one: Film, paths: RunPaths, stem: str, sets: Mapping[str, SampleSet]) -> DrawnFilm:
    """Write a film's strip, its videos and the figure of its quality frame by frame, where that was measured.

    Args:
        one: the film.
        paths: of the run.
        stem: part of the files' names.
        sets: all sample sets that are shown, by name.
    """
    strip = pictures.draw(partial(pictures.film_strip, one.strip()), paths.figures / f"strip-{stem}")
    video, frames = paths.figures / f"video-{stem}.mp4", film_frames.FilmFrames(one)
    rate_hz = one.rate_hz or film.UNKNOWN_HZ
    if videos.has_h264():
        videos.write_mp4(frames, rate_hz, video)
    else:
        video.unlink(missing_ok=True)  # one of other samples
    videos.write_gif(frames, rate_hz, video.with_suffix(".gif"))
    measured = by_frame.load(sets[one.info.name], list(sets.values()))
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
    config: RunConfig, paths: RunPaths, comparisons: list[Comparison], sets: Mapping[str, SampleSet], notes: list[str]
) -> list[tuple[ByTime, Picture]]:
    """Tasks that were sampled in several ways; where samples cannot be read, `notes` gets the reason."""
    try:
        found = by_time.load(comparisons, sets, config.evaluate.protocol)
    except UserError as error:
        notes.append(f"Quality over sampling time is not shown: {error}.")
        return []
    places = [paths.figures / f"time-{one.comparison.task}" for one in found]
    return [
        (one, pictures.draw(partial(by_time_figure.draw, one), path)) for one, path in zip(found, places, strict=True)
    ]


def _curve(paths: RunPaths) -> tuple[Curve, Picture] | None:
    curve = progress_curve.read(paths.progress_log)
    if curve is None or not curve.train:
        return None
    return curve, pictures.draw(partial(figures.loss_curve, curve), paths.figures / "loss")


def _course(paths: RunPaths) -> tuple[Sequence[Part], Picture] | None:
    parts = course.load(paths)
    return (parts, pictures.draw(partial(course_figure.timeline, parts), paths.figures / "jobs")) if parts else None
