"""The look before the start: everything that would end a job with an error, found before anything is queued.

    findings = check(names, config, profiles, paths)
    print(render(findings))    every line, for `--check`
    refuse(findings)           UserError if there is a fault

It reads names, sizes and small files, and asks Slurm a handful of questions; it imports nothing heavy.
"""

from collections.abc import Iterator, Sequence

from vdt_hpc.cluster import queue
from vdt_hpc.commands import run_state
from vdt_hpc.commands import site as sites
from vdt_hpc.commands.checks import disk, inputs, lineage, place
from vdt_hpc.commands.checks.findings import Finding, fault, refuse, render
from vdt_hpc.commands.checks.surroundings import Surroundings
from vdt_hpc.commands.site import Site
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths

__all__ = ["Finding", "check", "refuse", "render"]


def check(
    names: Sequence[str], config: RunConfig, profiles: Sequence[Partition], paths: RunPaths
) -> list[Finding]:  # fmt: skip
    """Look at everything that stages need, before they start.

    Args:
        names: stages, in the order in which they would run.
        config: the run.
        profiles: where; several of them are equals, and all are on Slurm or one is this machine.
        paths: of the run.
    """
    on_slurm = any(profile.executor == "slurm" for profile in profiles)
    if on_slurm and (absence := queue.absence()):
        return [fault("queue", absence)]  # what lies on a machine outside the cluster tells nothing of it
    site = sites.ask() if on_slurm else Site("", None)
    return list(_look(names, config, profiles, paths, site if on_slurm else None))


def _look(
    names: Sequence[str], config: RunConfig, profiles: Sequence[Partition], paths: RunPaths, site: Site | None
) -> Iterator[Finding]:
    state = run_state.look(config, paths)
    trains = "train" in names and not state.is_trained(config)
    if site:
        yield from place.check_queue(names, config, profiles, paths, site)
    if trains:
        batches = list(place.check_batch(config, profiles))
        yield from batches
        for profile, batch in zip(profiles, batches, strict=True):
            if batch.level == "ok":
                yield from place.check_memory(config, profile)
                yield place.check_margin(config, profile, state.history)
    writable = list(disk.check_writable(paths))
    yield from writable
    if site:
        yield disk.check_shared(paths, site.num_nodes)
    is_writable = all(each.level == "ok" for each in writable)
    if trains and is_writable:
        yield disk.check_space(config, paths, state)
    if "encode" in names and is_writable and not inputs.is_encoded(config, paths):
        yield from disk.check_latents_space(config, paths)
    if "train" in names:
        yield from lineage.check_same_run(config, paths, state)
    if site is None or site.name:
        yield from lineage.check_moved(config, profiles, state, site.name if site else "")
    where = Surroundings(config, paths, state, on_slurm=site is not None)
    yield from inputs.check_inputs(names, where)
