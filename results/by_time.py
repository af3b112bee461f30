"""Quality over the time that sampling takes: what samplers and numbers of steps cost, and what they give for it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.current import Comparison, Measured
from results.subjects import AUTOENCODER, MODEL
from vdt_hpc.experiment.sample_config import SamplerName
from vdt_hpc.store.records import Record
from vdt_hpc.store.samples import SampleSet


@dataclass(frozen=True)
class Way:
    """One sample set: how it was sampled, how long that took and what it gave."""

    sampler: SamplerName
    num_steps: int
    device: str
    """What computed."""
    seconds: float
    """For one sample, from noise to frames: the median over the parts of the set."""
    records: Mapping[str, Record]
    """Metric -> its record, of those that have a number."""

    def value(self, metric: str) -> float:
        """The number of one of these metrics."""
        value = self.records[metric].value
        assert value is not None
        return value


@dataclass(frozen=True)
class ByTime:
    """Ways to sample one task that were measured under the same conditions."""

    comparison: Comparison
    ways: Sequence[Way]
    """Two at least, the quickest first."""
    ceiling: Mapping[str, float]
    """Metric -> what the autoencoder's reconstruction has of it, where that was measured."""

    @property
    def metrics(self) -> list[str]:
        """Those that two ways at least have a number of, in the order of the records."""
        names = dict.fromkeys(name for way in self.ways for name in way.records)
        return [name for name in names if sum(name in way.records for way in self.ways) > 1]


def load(comparisons: Sequence[Comparison], sets: Mapping[str, SampleSet], own_protocol: str) -> list[ByTime]:
    """For each task that was sampled in several ways, what they cost and gave: by the run's own protocol or, where that
    has no numbers of two ways, by the first one that has.

    Args:
        comparisons: the run's.
        sets: sample sets by name; of others nobody knows how long they took.
        own_protocol: name of the run's own protocol.

    Raises:
        UserError: a sample set is damaged.
    """
    found: dict[str, ByTime] = {}
    for comparison in sorted(comparisons, key=lambda one: one.protocol != own_protocol):
        if comparison.task in found:
            continue
        ways = [way for row in comparison.rows if row.subject == MODEL and (way := _way(row, sets))]
        one = ByTime(comparison, sorted(ways, key=lambda way: way.seconds), _ceiling(comparison))
        if one.metrics:
            found[comparison.task] = one
    return list(found.values())


def _way(row: Measured, sets: Mapping[str, SampleSet]) -> Way | None:
    """None where nobody knows how long the samples took."""
    sample_set = sets.get(row.first.samples or "")
    paces = sample_set.paces() if sample_set else []
    if sample_set is None or not paces:
        return None
    records = {name: record for name, record in row.by_metric.items() if record.value is not None}
    device = statistics.mode(pace.device for pace in paces)  # parts may have been made on several
    seconds = statistics.median(pace.seconds / pace.num_samples for pace in paces if pace.device == device)
    return Way(sample_set.info.sampler, sample_set.info.num_steps, device, seconds, records)


def _ceiling(comparison: Comparison) -> dict[str, float]:
    rows = [row for row in comparison.rows if row.subject == AUTOENCODER]
    return {
        name: record.value for row in rows for name, record in row.by_metric.items() if record.value is not None
    }  # fmt: skip
