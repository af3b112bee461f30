"""PSNR as a metric of the table."""

from results.metrics.base import FrameMetric
from vdt_hpc.quality.distortion import mse_by_frame, psnr_of_mse

METRIC = FrameMetric(
    name="psnr", label="PSNR", unit="dB", direction="up", value_range="0 dB to infinity (identical)", num_digits=2,
    how="10 log10(255² / MSE) per clip, MSE over all pixels of the generated frames alone; mean over clips",
    citation="per clip as in MCVD, arXiv 2205.09853", needs=None, open=lambda: mse_by_frame,
    of_frames=lambda mse: psnr_of_mse(mse.mean(axis=-1)),
)  # fmt: skip
