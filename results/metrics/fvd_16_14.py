"""FVD of the first 16 frames and of those behind them, as two clips each."""

from results.frechet import MIN_CLIPS
from results.i3d import MIN_FRAMES, in_chunks, open_i3d
from results.metrics.base import SetMetric
from vdt_hpc.experiment.weights import I3D

CHUNK_FRAMES = 16

METRIC = SetMetric(
    name="fvd-16-14", label="FVD (16 + 14)", unit="", direction="down", value_range="0 (same distribution) upwards",
    num_digits=1,
    how="I3D logits of the first 16 frames of a clip and of the rest, two samples of one set (true given frames and "
        "generated ones); with several trajectories the mean of one FVD per trajectory",
    citation="Unterthiner et al., arXiv 1812.01717, in chunks as in SyncVP's code", needs=I3D,
    open=lambda: in_chunks(open_i3d(), CHUNK_FRAMES),
    min_frames=CHUNK_FRAMES + MIN_FRAMES, min_clips=MIN_CLIPS,
)  # fmt: skip
