"""PSNR with the lab report's faults."""

from results.metrics.base import FloatArray, FrameMetric
from vdt_hpc.quality.distortion import mse_by_frame, psnr_of_mse
from vdt_hpc.quality.pixels import Pixels


def psnr_by_frame_of_the_lab(truth: Pixels, other: Pixels) -> FloatArray:
    """PSNR of each frame with pixels in [-1, 1] and a peak of 1 where it is 2: 20 log10(2) dB = 6.02 dB too low."""
    return psnr_of_mse(mse_by_frame(truth, other) * 4)


METRIC = FrameMetric(
    name="psnr-lab", label="PSNR (lab)", unit="dB", direction="up", value_range="-6 dB to infinity", num_digits=2,
    how="faulty on purpose: pixels in [-1, 1] with a peak of 1 (6.02 dB too low); mean over all frames, given ones too",
    citation="the lab report's code", needs=None, open=lambda: psnr_by_frame_of_the_lab, is_of_all_frames=True,
)  # fmt: skip
