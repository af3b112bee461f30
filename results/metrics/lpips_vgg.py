"""LPIPS through VGG-16."""

from results.metrics.base import FrameMeasure, FrameMetric
from vdt_hpc.experiment.weights import VGG
from vdt_hpc.quality.perception import LPIPS_MIN_PX, open_lpips


def _open() -> FrameMeasure:
    """Load the network onto this task's device.

    Raises:
        MissingWeights: VGG's are not there.
    """
    from vdt_hpc.dist import current_task, device_of

    return open_lpips(device_of(current_task()), VGG)


METRIC = FrameMetric(
    name="lpips-vgg", label="LPIPS (VGG)", unit="", direction="down", value_range="0 (identical) upwards", num_digits=3,
    how="VGG-16, version 0.1, at the frames' own size; mean over the generated frames alone, then over clips",
    citation="Zhang et al., arXiv 1801.03924", needs=VGG, open=_open, min_side_px=LPIPS_MIN_PX,
)  # fmt: skip
