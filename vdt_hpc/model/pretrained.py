"""Published weights as the start of a run's model: read, then fitted by their names."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.weights import DIFFUSERS_CONFIG
from vdt_hpc.model import weight_files
from vdt_hpc.model.fitting import Fitted, fit

PUBLISHED_PREDICTION = "noise"
"""What VDT and DiT say; files do not tell, our exports do."""


def load(path: Path, model: nn.Module, config: RunConfig) -> Fitted:
    """A state for a run's model from a file of weights; the model itself is not changed.

    Args:
        path: the file, as `experiment.weights.initial_file` finds it.
        model: fresh; what the file does not have stays as it is there.
        config: the run.

    Raises:
        UserError: the file cannot be read, or does not fit (every name that does not is listed).
    """
    tensors = weight_files.read(path)
    try:
        fitted = fit(tensors, model.state_dict(), config.init.frames)
    except UserError as misfit:
        raise UserError(f"{path}: {misfit}") from None
    said, wanted = _prediction(path), config.diffusion.prediction
    if said == wanted:
        return fitted
    remark = f"the file's output says {said}, diffusion.prediction is {wanted}: the output has to be learnt anew"
    report = replace(fitted.report, remarks=(*fitted.report.remarks, remark))
    return replace(fitted, report=report)


def _prediction(path: Path) -> str:
    """What the output of the weights in a file says: their export's config.json tells, else it is as published."""
    beside = path.with_name(DIFFUSERS_CONFIG)
    stated = files.read_json(beside).get("prediction") if beside.is_file() else None
    return str(stated or PUBLISHED_PREDICTION)
