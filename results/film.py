"""What the page and the figures show of a sample set: some clips, beside their truth."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from results.notes import NotThere
from results.subjects import with_given
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.data_config import DataConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.pictures import BoolArray, StripRow
from vdt_hpc.store.latents import ByteArray, LatentSet
from vdt_hpc.store.manifest import read_manifest
from vdt_hpc.store.sample_info import SampleInfo
from vdt_hpc.store.samples import SampleSet

NUM_CLIPS = 4
CITYSCAPES_HZ = 17.0
"""Frame rate of Cityscapes' sequences: 30 frames at 17 Hz (Cordts et al., arXiv 1604.01685, section 2.1)."""
UNKNOWN_HZ = 10.0
"""At what rate clips are shown whose own nobody has stated."""


@dataclass(frozen=True)
class Film:
    """Some clips of a sample set, the first trajectory of each."""

    info: SampleInfo
    clip_ids: tuple[str, ...]
    truth: ByteArray
    """True clips, (N, T, H, W, 3) uint8, with fewer frames where a sample is longer than the truth; for unconditional
    generation they are other clips, for the eye alone."""
    samples: ByteArray
    """Generated clips, (N, T, H, W, 3) uint8; the given frames are the true ones."""
    rate_hz: float | None = None
    """Frames per second; None: nobody has stated it."""
    blocks: BoolArray | None = None
    """Of a completion, (N, h, w): True for the latent cells that are given in the frames between the given ones."""

    def strip(self) -> list[list[StripRow]]:
        """Rows of a film strip: each truth above its sample, or, where nothing is given, one real clip above all."""
        given = self.info.given
        if given:
            return [
                [StripRow("truth", truth, given, blocks), StripRow("sample", sample, given, blocks)]
                for truth, sample, blocks in zip(self.truth, self.samples, self.blocks_of_clips(), strict=True)
            ]
        return [[StripRow("real clip", self.truth[0], ())], [StripRow("sample", clip, ()) for clip in self.samples]]

    def blocks_of_clips(self) -> list[BoolArray | None]:
        """The given blocks of each clip, or None for each."""
        return [None] * len(self.samples) if self.blocks is None else list(self.blocks)


def load(config: RunConfig, paths: RunPaths, samples: str) -> Film:
    """Some clips of a sample set, spread over it.

    Args:
        config: the run.
        paths: its paths.
        samples: name of the sample set's folder.

    Raises:
        NotThere: the samples or the latents are no longer there, or no longer the same.
        UserError: they are damaged.
    """
    found = SampleSet.open(paths.samples / samples)
    if found is None:
        raise NotThere(f"no finished samples at {paths.samples / samples}; run the stage sample first")
    info = found.info
    if read_manifest(paths.latents) is None:
        raise NotThere(f"no finished latents at {paths.latents}; run the stage encode first")
    latents = LatentSet.open(config, paths)
    if latents.manifest.fingerprint != info.latents_fingerprint:
        raise NotThere(f"the samples at {found.folder} were made from other latents; run sample and evaluate again")
    true_frames = latents.split("test")
    chosen = np.unique(np.linspace(0, info.num_clips - 1, NUM_CLIPS).round().astype(int))
    clip_ids, truth, samples_of = [], [], []
    blocks = _blocks(config, info, chosen) if info.task == "completion" else None
    for index in map(int, chosen):
        clip_id, clip_samples = found.clip(index)
        true = true_frames.frames(index)[: info.num_frames]
        clip_ids.append(clip_id)
        truth.append(true)
        samples_of.append(with_given(clip_samples[:1], true, info.given)[0])
    return Film(info, tuple(clip_ids), np.stack(truth), np.stack(samples_of), rate_hz(config.data), blocks)


def rate_hz(data: DataConfig) -> float | None:
    """Frames per second of a run's clips; None: nobody has stated it."""
    return CITYSCAPES_HZ if data.source == "cityscapes" else data.frame_rate_hz or data.filmed_rate_hz


def _blocks(config: RunConfig, info: SampleInfo, clips: npt.NDArray[np.int_]) -> BoolArray:
    """The given cells of some completions, (N, h, w), drawn as they were for sampling."""
    from vdt_hpc.model import masks  # imports torch

    cells = (config.data.frame_height_px, config.data.width_px)
    height, width = (side // config.autoencoder.downsampling for side in cells)
    sample = config.sample.model_copy(update={"seed": info.seed})
    drawn = [masks.for_sampling(info.task, sample, info.num_frames, (height, width), int(clip)) for clip in clips]
    middle = info.generated[0]
    return np.stack([mask[middle, 0] == masks.GIVEN for mask in drawn])
