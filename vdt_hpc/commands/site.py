"""Whether a profile fits this cluster: its partitions, their limits, and what Slurm says of the real submission."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from vdt_hpc.cluster import executor, queue, submission
from vdt_hpc.cluster.queue import NoAnswer, QueuePartition
from vdt_hpc.cluster.snapshot import Snapshot
from vdt_hpc.commands.words import span
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition, plan_batch
from vdt_hpc.experiment.paths import RunPaths

_OF_CLOSED_NODES = ("Requested node configuration is not available", "Required node not available")


@dataclass(frozen=True)
class Site:
    """The cluster that the commands here talk to."""

    name: str
    """Empty where no controller answers."""
    partitions: Mapping[str, QueuePartition] | None
    """None where no controller answers."""

    @property
    def num_nodes(self) -> int:
        """Nodes of all partitions; one that is in two of them counts twice."""
        return sum(each.num_nodes for each in (self.partitions or {}).values())

    def partition_of(self, profile: Partition) -> QueuePartition | None:
        """The partition that a profile means, or None where this cluster has none of that name."""
        return (self.partitions or {}).get(slurm_name(profile))

    def why_not(self, profile: Partition) -> str:
        """Why this cluster runs no job of a profile, as far as Slurm's list of partitions tells; empty if it does."""
        if self.partitions is None:
            return ""  # sbatch will say what it thinks
        found, name = self.partition_of(profile), slurm_name(profile)
        if found is None:
            return (
                f"this cluster ({self.name}) has no partition {name}, which profile {profile.name} names; it has "
                f"{self._list()}; set slurm_partition in the profile's file, and what goes with it"
            )
        if found.max_time_min is not None and profile.timeout_min > found.max_time_min:
            return (
                f"timeout_min {profile.timeout_min:,} of profile {profile.name} is above the limit of the partition "
                f"{name}, {found.max_time_min:,.0f} min: Slurm would take the job and never start it; set timeout_min "
                f"to {found.max_time_min:.0f} or less"
            )
        return ""

    def _list(self) -> str:
        limits = {
            name: "no limit" if each.max_time_min is None else f"at most {span(60 * each.max_time_min)}"
            for name, each in (self.partitions or {}).items()
        }
        return ", ".join(f"{name} ({limit})" for name, limit in limits.items()) or "none that you may use"


@dataclass(frozen=True)
class Trial:
    """What would become of a profile's job."""

    why_not: str
    """Why it would never start, or end with an error at once: one line for the user; empty if it would run."""
    wait_s: float | None = None
    """Seconds until it would start; None: nobody knows."""
    doubt: str = ""
    """Why nobody knows when it would start, in one line; empty if Slurm told."""


def ask() -> Site:
    """Ask this cluster for its name and partitions."""
    try:
        return Site(queue.cluster_name(), queue.partitions())
    except NoAnswer:
        return Site("", None)


def slurm_name(profile: Partition) -> str:
    """Slurm's name of the partition that a profile means."""
    return profile.slurm_partition or profile.name


def try_out(
    stage: str, config: RunConfig, profile: Partition, paths: RunPaths, code: Snapshot, site: Site
) -> Trial:  # fmt: skip
    """Look whether a stage's job can run where a profile says, up to asking Slurm about the real submission."""
    if absence := queue.absence():
        return Trial(absence)
    if reason := site.why_not(profile):
        return Trial(reason)
    if stage == "train":
        try:
            plan_batch(config.batch, profile)
        except UserError as error:
            return Trial(str(error))
    text = executor.submission_text(submission.executor_for(stage, profile, paths, site.name, code))
    estimate = queue.estimate(text)
    if estimate.refusal:
        doubt = _closed_nodes(profile, estimate.refusal)
        refusal = f"Slurm does not take a job of profile {profile.name}: {estimate.refusal}"
        return Trial("", None, doubt) if doubt else Trial(refusal)
    found = site.partition_of(profile)
    if found is not None and not found.is_up:
        return Trial("", None, f"the partition {found.name} is not up: Slurm takes the job, and it waits until it is")
    if estimate.start is None:
        return Trial("", None, "Slurm takes the job and cannot tell when it would start")
    return Trial("", max(0.0, (estimate.start - datetime.now()).total_seconds()))


def _closed_nodes(profile: Partition, refusal: str) -> str:
    """What to say where Slurm only seems to refuse a job: `--test-only` counts no node that is out of service, and
    sbatch lets a job wait for it. Empty where the refusal is one.
    """
    if not any(words in refusal for words in _OF_CLOSED_NODES):
        return ""
    num_closed = queue.nodes_out_of_service(slurm_name(profile))
    if not num_closed:
        return ""
    return (
        f"{num_closed} node(s) of {slurm_name(profile)} are out of service, and Slurm says: {refusal}; if they are "
        f"what profile {profile.name} asks for, the job waits until they are back"
    )
