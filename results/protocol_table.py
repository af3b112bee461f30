"""The table of what was measured by one protocol: its columns in the protocol's order, its remarks with it."""

from collections.abc import Sequence

from results.current import Comparison
from results.published import Published
from results.tables import building, limits, same_measure
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
    said = [f"Protocol {name}, {named.title}: {named.remark}"] if named and named.remark else []
    table.remarks = [*said, *limits.remarks(comparison), *same_measure.remarks(comparison), *table.remarks]
    return table
