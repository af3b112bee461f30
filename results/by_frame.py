"""Quality over the index of the frame: where a sample begins to leave the truth, from what each clip measured.

Legend: G generated frames of a sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from results import known
from results.metrics import base
from results.metrics.base import FrameMetric
from results.notes import Notes
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


def load(sample_set: SampleSet, others: Sequence[SampleSet], notes: Notes) -> ByFrame | None:
    """What was measured frame by frame of a set; None where nothing was that can be shown.

    All clips count, and of each as many trajectories as there are of every one; what they measure at one frame is put
    together as the metric puts frames together.

    Args:
        sample_set: whose.
        others: of the run; the rows beside the model are measured with one set alone of those that share them.
        notes: of the report; they get what is damaged, and metrics that are no longer there.
    """
    info, own = sample_set.info, Measures(sample_set.folder)
    beside = [Measures(one.folder) for one in others if _shares(one.info, info)]
    curves: dict[str, dict[str, FloatArray]] = {}
    for name in own.metrics():
        if reason := known.reason_against(name):
            notes.add("samples", f"Quality by frame is not shown of what {sample_set.folder} keeps: {reason}")
            continue
        metric = base.find(name)
        if not isinstance(metric, FrameMetric) or metric.is_of_all_frames:
            continue
        found = {}
        for subject in SUBJECTS:
            with notes.instead_of("samples", f"{metric.label} by frame of {subject} is"):
                curve = _curve(metric, info, subject, [own] if subject == MODEL else [own, *beside])
                if curve is not None and len(curve) == len(info.generated):
                    found[subject] = curve
        if found:
            curves[name] = found
    return ByFrame(info, curves) if curves else None


def _shares(other: SampleInfo, info: SampleInfo) -> bool:
    """Whether two sets have the same rows beside the model."""
    names = ("task", "given", "num_frames", "num_clips", "latents_fingerprint", "decode_precision")
    return all(getattr(other, name) == getattr(info, name) for name in names)


def _curve(metric: FrameMetric, info: SampleInfo, subject: str, places: Sequence[Measures]) -> FloatArray | None:
    """(G,), from the first of these places where all clips were measured; None where they were in none."""
    num_parts = info.num_parts()
    kept = next((one for one in places if one.is_whole(subject, metric.name, metric.how, num_parts)), None)
    if kept is None:
        return None
    values = kept.read(subject, metric.name, num_parts)[:, : info.counts.of_every_clip]
    together = metric.of_frames(values.reshape(-1, values.shape[-1]).T)
    return np.where(np.isfinite(together), together, np.nan)
