"""SSIM of grey frames, as MCVD measures it."""

from results.metrics.base import FrameMetric
from vdt_hpc.quality.distortion import SSIM_MIN_PX, ssim_by_frame_grey

METRIC = FrameMetric(
    name="ssim-grey", label="SSIM (grey)", unit="", direction="up", value_range="-1 to 1 (identical)", num_digits=3,
    how="scikit-image, on 8-bit grey frames (Pillow's weights of ITU-R 601-2), Gaussian window of sigma 1.5, L = 255; "
        "mean over the generated frames alone, then over clips",
    citation="Wang et al. 2004, as in MCVD, arXiv 2205.09853", needs=None, open=lambda: ssim_by_frame_grey,
    min_side_px=SSIM_MIN_PX,
)  # fmt: skip
