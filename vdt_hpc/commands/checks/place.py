"""Where: is the profile's partition here, does Slurm take the job, how is the batch spread, does it fit, is a save in
time.
"""

from collections.abc import Iterator, Sequence

from vdt_hpc.cluster import snapshot
from vdt_hpc.commands import site as sites
from vdt_hpc.commands.checks.findings import Finding, fault, ok, warning
from vdt_hpc.commands.describing import memory_of_step
from vdt_hpc.commands.history import History, largest_save
from vdt_hpc.commands.site import Site
from vdt_hpc.commands.words import amount, moment
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.memory import largest_micro_batch, largest_step_bytes
from vdt_hpc.experiment.partition import Partition, plan_batch
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.size import checkpoint_bytes

RECENT_SAVES = 20
ASSUMED_WRITE_BYTES_PER_S = 2e8
"""Of a shared file system that others use too; only where no save was measured."""
ENOUGH = 2.0
"""A margin this many times what is needed holds up to a slow day, or to a save that waits for the one before it."""


def check_queue(
    names: Sequence[str], config: RunConfig, profiles: Sequence[Partition], paths: RunPaths, site: Site
) -> Iterator[Finding]:
    """Whether each profile's partition is here and takes the job that would be submitted."""
    if not site.name:
        # Nobody knows then what is in the queue, and whose numbers the jobs get.
        yield fault("cluster", "scontrol does not tell which cluster this is; try again")
    elif site.partitions is None:
        yield warning("cluster", "scontrol names no partitions: names and time limits are left to sbatch")
    code = snapshot.plan(paths)
    stage = "train" if "train" in names else names[0]
    for profile in profiles:
        trial = sites.try_out(stage, config, profile, paths, code, site)
        subject = f"{profile.name}: queue"
        if trial.why_not:
            yield fault(subject, trial.why_not)
            continue
        if trial.doubt:
            yield warning(subject, trial.doubt)
            continue
        found = site.partition_of(profile)
        limit = "" if found is None or found.max_time_min is None else f" of at most {found.max_time_min:,.0f} min"
        yield ok(
            subject,
            f"{sites.slurm_name(profile)} of {site.name or 'this cluster'} takes jobs of {profile.timeout_min:,} min"
            f"{limit}; the next would start {moment(trial.wait_s)}",
        )


def check_batch(config: RunConfig, profiles: Sequence[Partition]) -> Iterator[Finding]:
    """How the global batch is spread over each profile's tasks."""
    for profile in profiles:
        subject = f"{profile.name}: batch"
        try:
            plan = plan_batch(config.batch, profile)
        except UserError as error:
            yield fault(subject, str(error))
            continue
        shares = sorted({sum(sizes) for sizes in plan.micro_batches})
        largest = max(size for sizes in plan.micro_batches for size in sizes)
        yield ok(
            subject,
            f"{plan.global_clips} clips = {' or '.join(map(str, shares))} on each of {profile.world_size} task(s), at "
            f"most {largest} at once (limit {profile.max_clips_per_gpu}), accumulation {plan.accumulation}",
        )


def check_memory(config: RunConfig, profile: Partition) -> Iterator[Finding]:
    """Whether the largest micro-batch fits into a GPU's memory, as it is predicted; nothing if that is not stated."""
    memory_gb = profile.gpu_memory_gb
    if not profile.gpus_per_node or memory_gb is None:
        return
    subject, told = f"{profile.name}: memory", memory_of_step(config, profile)
    if largest_step_bytes(config, profile)[1] <= memory_gb * 1e9:
        yield ok(subject, f"a step takes {told}; a GPU has {memory_gb:g} GB")
        return
    lean = profile.activation_checkpointing
    fitting = largest_micro_batch(config, memory_gb, lean)
    halved = f"training will halve the micro-batch; set max_clips_per_gpu: {fitting} in profile {profile.name}"
    advice = halved if fitting else "not even one clip may fit"
    if not lean:
        to_set = "activation_checkpointing: true"
        advice += f", or {to_set}" if fitting else f"; set {to_set} in profile {profile.name}"
    yield warning(subject, f"a step takes {told}, and a GPU has {memory_gb:g} GB: {advice}")


def check_margin(config: RunConfig, profile: Partition, history: History) -> Finding:
    """Whether the last save of a job is on the disk before its time is up.

    Training ends at the first update that ends within the margin; then it saves.
    """
    subject, margin_s = f"{profile.name}: saving", profile.save_margin_s
    here = [each for each in history.saves if each.partition == profile.name]
    saves = (here or history.saves)[-RECENT_SAVES:]
    clips_per_s = history.speed(profile.name, profile.world_size)
    update_s = plan_batch(config.batch, profile).global_clips / clips_per_s if clips_per_s else 0.0
    if saves:
        save_s = largest_save(saves, profile.world_size)
        where = "here" if here else f"on {saves[-1].partition}"
        how = f"the slowest of the last {len(saves)} saves measured {where} takes {save_s:.1f} s"
    else:
        num_bytes = checkpoint_bytes(config)
        save_s = num_bytes / ASSUMED_WRITE_BYTES_PER_S
        how = (
            f"no save was measured; {amount(num_bytes)} at an assumed {ASSUMED_WRITE_BYTES_PER_S / 1e6:.0f} MB/s take "
            f"{save_s:.1f} s"
        )
    if update_s:
        how += f", an update {update_s:.1f} s"
    needed_s = save_s + update_s
    told = f"save_margin_s {margin_s} of profile {profile.name}"
    advice = f"set it to {round(ENOUGH * needed_s + 0.5)} or more"
    if needed_s >= margin_s and here:
        return fault(subject, f"{told} is too short, each job would lose its last minutes: {how}; {advice}")
    if needed_s * ENOUGH > margin_s:
        return warning(subject, f"{told} may be too short: {how}; {advice}")
    return ok(subject, f"{told} is enough: {how}")
