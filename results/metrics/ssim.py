"""SSIM as a metric of the table."""

from results.metrics.base import FrameMetric
from vdt_hpc.quality.distortion import SSIM_MIN_PX, ssim_by_frame

METRIC = FrameMetric(
    name="ssim", label="SSIM", unit="", direction="up", value_range="-1 to 1 (identical)", num_digits=3,
    how="scikit-image, colour, Gaussian window of sigma 1.5, L = 255; mean over the generated frames alone, "
        "then over clips",
    citation="Wang et al., IEEE Transactions on Image Processing 13(4), 2004", needs=None,
    open=lambda: ssim_by_frame, min_side_px=SSIM_MIN_PX,
)  # fmt: skip
