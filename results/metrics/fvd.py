"""FVD as a metric of the table: Frechet distance in the logits of I3D (Kinetics-400)."""

from results.frechet import MIN_CLIPS
from results.i3d import MIN_FRAMES, open_i3d
from results.metrics.base import SetMetric
from vdt_hpc.experiment.weights import I3D

METRIC = SetMetric(
    name="fvd", label="FVD", unit="", direction="down", value_range="0 (same distribution) upwards", num_digits=1,
    how="I3D logits of whole clips (true given frames and generated ones) over the whole set at once; with several "
        "trajectories the mean of one FVD per trajectory",
    citation="Unterthiner et al., arXiv 1812.01717", needs=I3D, open=open_i3d,
    min_frames=MIN_FRAMES, min_clips=MIN_CLIPS,
)  # fmt: skip
