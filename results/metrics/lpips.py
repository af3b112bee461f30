"""LPIPS as a metric of the table."""

from results.metrics.base import FrameMeasure, FrameMetric
from vdt_hpc.experiment.weights import ALEXNET
from vdt_hpc.quality.perception import LPIPS_MIN_PX, open_lpips


def _open() -> FrameMeasure:
    """Load the network onto this task's device.

    Raises:
        MissingWeights: AlexNet's are not there.
    """
    from vdt_hpc.dist import current_task, device_of

    return open_lpips(device_of(current_task()))


METRIC = FrameMetric(
    name="lpips", label="LPIPS", unit="", direction="down", value_range="0 (identical) upwards", num_digits=3,
    how="AlexNet, version 0.1, at the frames' own size; mean over the generated frames alone, then over clips",
    citation="Zhang et al., arXiv 1801.03924", needs=ALEXNET, open=_open, min_side_px=LPIPS_MIN_PX,
)  # fmt: skip
