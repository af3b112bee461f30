"""Quality over the index of the frame: where a sample begins to leave the truth, from what each clip measured.

Legend: G generated frames of a sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from results.metrics import base
from results.metrics.base import FrameMetric
from results.subjects import MODEL, SUBJECTS
from vdt_hpc.store.measures import Measures
from vdt_hpc.store.sample_info import SampleInfo
from vdt_hpc.store.samples import SampleSet

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ByFrame:
    """What one sample set and the rows beside it measure at each frame."""

    info: SampleInfo
    curves: Mapping[str, Mapping[str, FloatArray]]
    """Metric -> subject -> (G,), in the order of `info.generated`; a value that is not finite has no place in a picture
    and is NaN."""


def load(sample_set: SampleSet, others: Sequence[SampleSet]) -> ByFrame | None:
    """What was measured frame by frame of a set; None where nothing was.

    All clips count, and of each as many trajectories as there are of every one; what they measure at one frame is put
    together as the metric puts frames together.

    Args:
        sample_set: whose.
        others: of the run; the rows beside the model are measured with one set alone of those that share them.
    """
    info, num_parts = sample_set.info, sample_set.info.num_parts()
    own, beside = Measures(sample_set.folder), [Measures(one.folder) for one in others if _shares(one.info, info)]
    curves: dict[str, dict[str, FloatArray]] = {}
    for name in own.metrics():
        metric = base.find(name)
        if not isinstance(metric, FrameMetric) or metric.is_of_all_frames:
            continue
        found = {}
        for subject in SUBJECTS:
            places = [own] if subject == MODEL else [own, *beside]
            kept = next((one for one in places if one.is_whole(subject, name, metric.how, num_parts)), None)
            if kept is not None:
                found[subject] = _curve(metric, kept.read(subject, name, num_parts)[:, : info.counts.of_every_clip])
        if found := {subject: values for subject, values in found.items() if len(values) == len(info.generated)}:
            curves[name] = found
    return ByFrame(info, curves) if curves else None


def _shares(other: SampleInfo, info: SampleInfo) -> bool:
    """Whether two sets have the same rows beside the model."""
    names = ("task", "given", "num_frames", "num_clips", "latents_fingerprint", "decode_precision")
    return all(getattr(other, name) == getattr(info, name) for name in names)


def _curve(metric: FrameMetric, values: FloatArray) -> FloatArray:
    """(clips, trajectories, G) -> (G,)."""
    together = metric.of_frames(values.reshape(-1, values.shape[-1]).T)
    return np.where(np.isfinite(together), together, np.nan)
