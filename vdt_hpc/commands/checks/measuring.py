"""Whether the numbers of the tables to come can be measured: what samples and weights each protocol asks for."""

import contextlib
from collections.abc import Iterator

from vdt_hpc.commands.checks.findings import Finding, fault, ok, warning
from vdt_hpc.commands.checks.surroundings import Surroundings
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import metric_names, protocol, weights
from vdt_hpc.store.frames_index import read_counts
from vdt_hpc.store.manifest import read_manifest


def look_at_protocols(where: Surroundings) -> Iterator[Finding]:
    """Whether the samples to come serve the protocols that the run names, as far as the test clips were counted."""
    sample, num_test_clips = where.config.sample, _num_test_clips(where)
    named = [protocol.load(name) for name in where.config.evaluate.protocols]
    for one in named if num_test_clips else ():
        if not any(one.is_for(task) for task in sample.tasks):
            continue
        subject = f"protocol {one.name}"
        if lacks := one.lacks(sample.counts(num_test_clips), num_test_clips):
            yield warning(subject, f"its numbers will be missing in the tables: {lacks}")
        else:
            yield ok(subject, "the samples to come serve it")


def look_at_metrics(where: Surroundings) -> Iterator[Finding]:
    """Whether there is every metric that the tables to come name, and the weights that it needs."""
    named = dict.fromkeys(name for one in protocol.of_run(where.config.evaluate) for name in one.metrics)
    for name in named:
        try:
            metric_names.require(name)
        except UserError as error:
            yield fault(name, str(error))
    for metric in dict.fromkeys(map(protocol.plain_name, named)):
        needed = weights.OF_METRICS.get(metric)
        if needed is None:
            continue
        if found := needed.find():
            yield ok(metric, f"{needed.whose} in {found}")
        else:
            yield warning(
                metric,
                f"{metric} will be missing in the tables: put {needed.files[0]} ({needed.whose}) into the folder "
                f"weights/ or into $VDT_HPC_WEIGHTS, as {weights.REMEDY} {needed.name} does",
            )


def _num_test_clips(where: Surroundings) -> int:
    """Clips of the test split, from the latents or from the index of the frames; 0: nobody knows yet."""
    with contextlib.suppress(UserError):  # of damaged latents the look at them tells
        if manifest := read_manifest(where.paths.latents):
            return sum(shard.num_clips for shard in manifest.shards if shard.split == "test")
    counts = read_counts(where.config, where.paths)
    return counts.num_clips.get("test", 0) if counts else 0
