"""The protocols of a run, and whether everything that they name can be measured."""

from results.metrics import base
from vdt_hpc.experiment import protocol
from vdt_hpc.experiment.config import EvaluateConfig
from vdt_hpc.experiment.protocol import Protocol


def of_run(config: EvaluateConfig) -> list[Protocol]:
    """The run's own protocol, then those that it names.

    Raises:
        UserError: one is unknown or damaged, or names a metric that there is not.
    """
    protocols = protocol.of_run(config)
    for metric in (name for one in protocols for name in one.metrics):
        base.find(metric)
    return protocols
