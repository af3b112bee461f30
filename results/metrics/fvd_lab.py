"""FVD with the lab report's faults."""

import numpy as np

from results.frechet import frechet
from results.i3d import MIN_FRAMES, open_i3d
from results.metrics.base import FloatArray, SetMetric
from vdt_hpc.experiment.weights import I3D

BATCH_CLIPS = 16


def mean_over_batches(truth: FloatArray, others: FloatArray) -> float:
    """The mean of one Frechet distance per batch of 16 clips, (clips, D) each; clips that fill none are thrown away.

    A covariance of 16 samples has rank 15 at most, so that even two sets of the same distribution lie far apart.
    """
    whole = len(truth) // BATCH_CLIPS * BATCH_CLIPS
    batches = range(0, whole, BATCH_CLIPS)
    return float(np.mean([frechet(truth[i : i + BATCH_CLIPS], others[i : i + BATCH_CLIPS]) for i in batches]))


METRIC = SetMetric(
    name="fvd-lab", label="FVD (lab)", unit="", direction="down", value_range="0 upwards", num_digits=1,
    how="faulty on purpose: the network sees pixels in [-3, 1], and the distance is the mean over batches of 16 clips, "
        "the last thrown away where it is not full; given frames as the autoencoder renders them",
    citation="the lab report's code", needs=I3D, open=lambda: open_i3d(lowest=-3.0), distance=mean_over_batches,
    min_frames=MIN_FRAMES, min_clips=BATCH_CLIPS, is_of_all_frames=True,
)  # fmt: skip
