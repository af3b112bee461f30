"""PSNR as a metric of the table."""

from results.metrics.base import ClipMetric
from results.quality import psnr

METRIC = ClipMetric(
    name="psnr", label="PSNR", unit="dB", direction="up", value_range="0 dB to infinity (identical)", num_digits=2,
    how="10 log10(255² / MSE) per clip, MSE over all pixels of the generated frames alone; mean over clips",
    citation="per clip as in MCVD, arXiv 2205.09853", needs=None, open=lambda: psnr,
)  # fmt: skip
