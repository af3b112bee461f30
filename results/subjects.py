"""What is measured beside the truth: the model, and three rows that tell what a number means.

Legend: K trajectories, T frames, H x W pixels. Every subject is given the true given frames before it is measured, so
that a metric of whole clips sees the same ones everywhere and a metric of single frames never sees them at all. A frame
of a completion that is given in part counts as generated, and is all the subject's own.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from results.metrics.base import FrameMetric, SetMetric
from vdt_hpc.dist import current_task, device_of
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.data_config import DataConfig
from vdt_hpc.experiment.sample_config import DecodePrecision
from vdt_hpc.experiment.sample_counts import spread
from vdt_hpc.store.latents import ByteArray, LatentSet, LatentSplit
from vdt_hpc.store.sample_info import SampleInfo

if TYPE_CHECKING:
    from vdt_hpc.model.autoencoder import Autoencoder

MODEL, COPY, AUTOENCODER, REAL = "model", "copy-last-frame", "autoencoder", "real-against-real"
SUBJECTS = (MODEL, COPY, AUTOENCODER, REAL)
TRUTH = "truth"
"""What the subjects are set beside; a metric of sets measures it too."""
Decode = Callable[[int], ByteArray]
"""Index of a clip -> the autoencoder's reconstruction of all its frames, (T, H, W, 3) uint8."""


def reason_against(
    subject: str, metric: FrameMetric | SetMetric, info: SampleInfo, clips: Sequence[int], data: DataConfig
) -> str | None:
    """Why a subject has no number of a metric on a sample set, or None where it can be measured now.

    Args:
        subject: one of SUBJECTS.
        metric: what would be measured.
        info: the sample set.
        clips: those of it that are measured.
        data: what the frames of a test clip are.
    """
    if info.task == "unconditional":
        if isinstance(metric, FrameMetric):
            return "does not apply: an unconditional sample has no truth"
        if subject == COPY:
            return "does not apply: no frame is given that could be repeated"
    if info.num_frames > data.frames_per_clip:
        return f"the samples have {info.num_frames} frames, the true clips {data.frames_per_clip}"
    if isinstance(metric, SetMetric):
        if subject == REAL and metric.over == "pooled":
            return "does not apply: pooled trajectories are more clips than there are real ones to set beside as many"
        if info.num_frames < metric.min_frames:
            return f"{metric.label} needs clips of at least {metric.min_frames} frames; these have {info.num_frames}"
        num_clips = len(real_sides(clips, info.num_clips)[0]) if subject == REAL else len(clips)
        if num_clips < metric.min_clips:
            sides = f"two sets of real clips, each of at least {metric.min_clips}" if subject == REAL else ""
            return f"{metric.label} needs {sides or f'at least {metric.min_clips} clips'}; there are {num_clips}"
    elif subject == REAL and len(clips) < 2:
        return "needs another real clip; there is only 1"
    side_px = min(data.frame_height_px, data.width_px)
    if side_px < metric.min_side_px:
        small = f"{metric.label} needs frames of at least {metric.min_side_px} px; these have {side_px}"
        return metric.unavailable() or small
    return metric.unavailable()


def real_sides(clips: Sequence[int], num_clips: int) -> tuple[list[int], list[int]]:
    """Two disjoint sets of real clips of one size, whose distance is the floor of a distance between so many alone:
    a distance falls with the number of clips on each side.

    Where there are as many others, the clips that are measured and as many others, spread evenly; else every other of
    the measured ones on each side, of an odd number without the last.

    Args:
        clips: those that are measured.
        num_clips: all that there are, the first ones of the test split.
    """
    others = sorted(set(range(num_clips)) - set(clips))
    if len(others) >= len(clips) > 0:
        return list(clips), [others[index] for index in spread(len(clips), len(others))]
    num_pairs = len(clips) // 2
    return list(clips[: 2 * num_pairs : 2]), list(clips[1 : 2 * num_pairs : 2])


class Beside:
    """Frames that the rows beside the model set beside the truth, clip by clip; none of them needs a sample.

    Args:
        info: the sample set that is measured.
        truth: the test split.
        decode: the autoencoder; asked only for the subject `autoencoder`.
    """

    def __init__(self, info: SampleInfo, truth: LatentSplit, decode: Decode) -> None:
        self._info, self._truth, self._decode = info, truth, decode

    def true_frames(self, index: int) -> ByteArray:
        """The first frames of a test clip, as many as a sample has: (T, H, W, 3) uint8."""
        frames = self._truth.frames(index)
        return frames[: self._info.num_frames]

    def frames(self, subject: str, index: int) -> ByteArray:
        """A subject's clip for one test clip, (1, T, H, W, 3) uint8.

        Args:
            subject: one of SUBJECTS except the model, or TRUTH. `copy-last-frame` repeats, for each generated frame,
                the nearest given frame before it, or, before all given ones, the first of them: for prediction, the
                last given frame. `real-against-real` is the next test clip, the first after the last.
            index: of the test clip.

        Raises:
            UserError: the latents are damaged, or the autoencoder cannot be used.
        """
        if subject == AUTOENCODER:
            return self._decode(index)[None, : self._info.num_frames]
        if subject == REAL:
            return self.true_frames((index + 1) % self._info.num_clips)[None]
        assert subject in (COPY, TRUTH), subject
        truth = self.true_frames(index)
        return truth[None, nearest_given(self._info)] if subject == COPY else truth[None]


def nearest_given(info: SampleInfo) -> list[int]:
    """For every frame of a sample the given frame that stands for it: the nearest before it, else the first after."""
    return [
        max((one for one in info.given if one <= index), default=min(info.given)) for index in range(info.num_frames)
    ]


def with_given(clips: ByteArray, truth: ByteArray, given: Sequence[int]) -> ByteArray:
    """Clips with the true given frames in place of their own, as far as there is truth.

    Args:
        clips: (K, T, H, W, 3).
        truth: (T or fewer, H, W, 3).
        given: indices of the given frames.
    """
    indices = [index for index in given if index < len(truth)]
    mixed = clips.copy()
    mixed[:, indices] = truth[indices]
    return mixed


class Reconstruction:
    """What the run's autoencoder makes of the true frames: decode(mean of the posterior).

    The weights are loaded at the first call, since not every measurement asks for them.

    Args:
        config: the run.
        latents: its latents.
        precision: the decoder's arithmetic, that of the samples which it is set beside.
    """

    def __init__(self, config: RunConfig, latents: LatentSet, precision: DecodePrecision) -> None:
        self._config, self._manifest, self._split = config, latents.manifest, latents.split("test")
        self._precision: DecodePrecision = precision
        self._loaded: Autoencoder | None = None

    def __call__(self, index: int) -> ByteArray:
        """All frames of a test clip, (T, H, W, 3) uint8.

        Raises:
            UserError: the autoencoder is not there, or is not the one that made the latents.
        """
        import torch

        from vdt_hpc.model import autoencoder

        self._loaded = self._loaded or self._load()
        mean, _ = self._split.moments(index)
        latents = torch.from_numpy(mean.astype(np.float32))
        return autoencoder.decode(self._loaded, latents, self._config.sample.decode_frames)

    def _load(self) -> "Autoencoder":

        from vdt_hpc.model import autoencoder

        loaded = autoencoder.load(self._config.autoencoder, device_of(current_task()), precision=self._precision)
        if loaded.sha256 != self._manifest.autoencoder["sha256"]:
            raise UserError(
                f"the autoencoder {loaded.source} is not the one that made the latents; put that one back, "
                "or remove the latents and run encode, train and sample again"
            )
        return loaded
