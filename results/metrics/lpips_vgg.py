"""LPIPS through VGG-16."""

from results.metrics.base import FrameMeasure, FrameMetric
from vdt_hpc.experiment.weights import VGG


def _open() -> FrameMeasure:
    """Load the network onto this task's device.

    Raises:
        MissingWeights: VGG's are not there.
    """
    from vdt_hpc.dist import current_task, device_of
    from vdt_hpc.quality.perception import open_lpips

    return open_lpips(device_of(current_task()), VGG)


METRIC = FrameMetric(
    name="lpips-vgg", label="LPIPS (VGG)", unit="", direction="down", value_range="0 (identical) upwards", num_digits=3,
    how="VGG-16, version 0.1, at the frames' own size; mean over the generated frames alone, then over clips",
    citation="Zhang et al., arXiv 1801.03924", needs=VGG, open=_open,
)  # fmt: skip
