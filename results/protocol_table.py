"""The table of what was measured by one protocol: its columns in the protocol's order, its remark with it."""

from collections.abc import Sequence

from results.current import Comparison
from results.metrics import base
from results.metrics.base import SetMetric
from results.published import Published
from results.subjects import MODEL, REAL
from results.tables import building
from results.tables.table import Table
from vdt_hpc.experiment import protocol
from vdt_hpc.experiment.config import EvaluateConfig


def build(config: EvaluateConfig, comparison: Comparison, others: Sequence[Published]) -> Table:
    """The table of one comparison, with what its protocol says of itself: also of one that the run no longer names.

    Args:
        config: of the run: its own protocol.
        comparison: what was measured.
        others: published numbers, all groups.

    Raises:
        UserError: the protocol's file is damaged.
    """
    own, name = config.protocol, comparison.protocol
    named = None if name == own else protocol.find(name)
    order = named.metrics if named else config.metrics if name == own else ()
    table = building.build(comparison, others, order, own)
    if named and named.remark:
        table.remarks.insert(0, f"Protocol {name}, {named.title}: {named.remark}")
    table.remarks += _below_the_floor(comparison)
    return table


def _below_the_floor(comparison: Comparison) -> list[str]:
    """A line for each distance of the model that is smaller than that of real clips from each other."""
    real = next((row.by_metric for row in comparison.rows if row.subject == REAL), {})
    remarks = []
    for record in (one for row in comparison.rows if row.subject == MODEL for one in row.by_metric.values()):
        metric, floor = base.find(record.metric), real.get(record.metric)
        if not isinstance(metric, SetMetric) or record.value is None or floor is None or floor.value is None:
            continue
        if record.value < floor.value:
            digits = metric.num_digits
            remarks.append(
                f"{metric.label} of {record.value:.{digits}f} is below that of real clips against real ones, "
                f"{floor.value:.{digits}f}, which is between halves of the {record.num_clips} clips: too few clips to "
                "tell, or samples that repeat the truth."
            )
    return remarks
