"""Stage `report`: records, samples and the training's log -> tables, figures and a page."""

from results import current, figures, film, page, progress_curve, published, tables, training_strips
from results.current import Comparison
from results.film import Film
from results.subjects import MODEL
from vdt_hpc import files, pictures
from vdt_hpc.dist import current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.store.manifest import read_manifest
from vdt_hpc.store.records import read_records


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Write `tables/`, `figures/` and `index.html` of a run, from its newest checkpoint's records; rank 0 does it all.

    Raises:
        UserError: there are no records, or what they were measured on is damaged.
    """
    if current_task().rank != 0:
        return StageResult("rank 0 writes the report")
    paths = paths_for(config, partition)
    comparisons = current.newest(read_records(paths.records))
    if not comparisons:
        raise UserError(f"no records of this run in {paths.records}; run the stage evaluate first")
    height, others = config.data.frame_height_px, published.load()
    built = [tables.build(comparison, others, height, config.evaluate.metrics) for comparison in comparisons]
    files.write_text(paths.tables / "results.md", tables.to_markdown(built))
    files.write_text(paths.tables / "results.csv", tables.to_csv(comparisons, others, height))

    films, notes = _films(config, paths, comparisons)
    for one in films:
        pictures.save(pictures.film_strip(one.strip()), paths.figures / f"strip-{_short(one)}")
    curve = progress_curve.read(paths.progress_log)
    if curve is not None and curve.train:
        pictures.save(figures.loss_curve(curve), paths.figures / "loss")
    manifest = read_manifest(paths.latents)
    strips = training_strips.load(paths.strips)
    content = page.Content(config, comparisons, built, films, notes, curve, strips, manifest)
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


def _short(one: Film) -> str:
    return f"{one.info.task}-{one.info.sampler}-{one.info.num_steps}"
