"""What the page and the figures show of a sample set: some clips, beside their truth."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from results.subjects import with_given
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.pictures import StripRow
from vdt_hpc.store.latents import ByteArray, LatentSet
from vdt_hpc.store.sample_info import SampleInfo
from vdt_hpc.store.samples import SampleSet

NUM_CLIPS = 4
_TILE_PX = 160
_GAP_PX = 6
_MAX_SIDE_PX = 16_000  # a WebP picture has at most 16,383 pixels along a side


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

    def strip(self) -> list[list[StripRow]]:
        """Rows of a film strip: each truth above its sample, or, where nothing is given, one real clip above all."""
        given = self.info.given
        if given:
            return [
                [StripRow("truth", truth, given), StripRow("sample", sample, given)]
                for truth, sample in zip(self.truth, self.samples, strict=True)
            ]
        return [[StripRow("real clip", self.truth[0], ())], [StripRow("sample", clip, ()) for clip in self.samples]]

    def sheet(self) -> tuple[bytes, int, int]:
        """All frames of all clips as one WebP picture, a frame below the other, with the size of one frame in pixels.

        One frame shows the clips side by side, truth above sample.
        """
        num_clips, num_frames, height, width = self.samples.shape[:4]
        scale = min(_TILE_PX / width, (_MAX_SIDE_PX / num_frames - _GAP_PX) / (2 * height), 1.0 * _TILE_PX / height)
        tile_h, tile_w = max(1, round(height * scale)), max(1, round(width * scale))
        frame_h, frame_w = 2 * tile_h + _GAP_PX, num_clips * (tile_w + _GAP_PX) - _GAP_PX
        sheet = Image.new("RGBA", (frame_w, frame_h * num_frames))
        for number in range(num_frames):
            for column in range(num_clips):
                for row, clips in enumerate((self.truth, self.samples)):
                    if number >= clips.shape[1]:
                        continue
                    tile = Image.fromarray(clips[column, number]).resize((tile_w, tile_h), Image.Resampling.LANCZOS)
                    sheet.paste(tile, (column * (tile_w + _GAP_PX), number * frame_h + row * (tile_h + _GAP_PX)))
        buffer = io.BytesIO()
        sheet.save(buffer, "WEBP", quality=80, method=2)
        return buffer.getvalue(), frame_w, frame_h


def load(config: RunConfig, paths: RunPaths, samples: str) -> Film:
    """Some clips of a sample set, spread over it.

    Args:
        config: the run.
        paths: its paths.
        samples: name of the sample set's folder.

    Raises:
        UserError: the samples or the latents are no longer there, or no longer the same.
    """
    found = SampleSet.open(paths.samples / samples)
    if found is None:
        raise UserError(f"no finished samples at {paths.samples / samples}; run the stage sample first")
    info = found.info
    latents = LatentSet.open(config, paths)
    if latents.manifest.fingerprint != info.latents_fingerprint:
        raise UserError(f"the samples at {found.folder} were made from other latents; run sample and evaluate again")
    true_frames = latents.split("test")
    chosen = np.unique(np.linspace(0, info.num_clips - 1, NUM_CLIPS).round().astype(int))
    clip_ids, truth, samples_of = [], [], []
    for index, (clip_id, clip_samples) in enumerate(found.clips()):
        if index in chosen:
            true = true_frames.frames(index)[: info.num_frames]
            clip_ids.append(clip_id)
            truth.append(true)
            samples_of.append(with_given(clip_samples[:1], true, info.given)[0])
    return Film(info, tuple(clip_ids), np.stack(truth), np.stack(samples_of))
