"""Fills sample sets part by part: latents out of the model, frames out of the autoencoder.

Legend: B samples of a batch, T frames, C latent channels, h x w latent cells, H x W pixels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jobs.trainer import autocast
from vdt_hpc.dist import StopFlag, Task, cpus_of_task, device_of
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.model import autoencoder, masks, samplers, vdt
from vdt_hpc.progress import Progress
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.sample_info import SampleInfo
from vdt_hpc.store.samples import ByteArray, finish_set, write_part


class Stopped(Exception):
    """A signal asked for a stop between two steps."""


class Generator:
    """Generates samples of a run on one device.

    Args:
        config: the run.
        latents: its latents; the test split gives the frames.
        weights: the averaged weights.
        task: which of the job's processes this is.
        stop: polled after every step.

    Raises:
        UserError: no autoencoder, or not the one that made the latents; steps that the sampler cannot space.
    """

    def __init__(
        self, config: RunConfig, latents: LatentSet, weights: Mapping[str, Tensor], task: Task, stop: StopFlag
    ) -> None:
        samplers.check(config.sample, config.diffusion)
        torch.set_num_threads(cpus_of_task(task))
        self._config, self._stop, self._main = config, stop, task.rank == 0
        self._device = device_of(task)
        self._clips = latents.split("test")
        self._scaling_factor = latents.manifest.scaling_factor
        self._decoder = autoencoder.load(config.autoencoder, self._device)
        if self._decoder.sha256 != latents.manifest.autoencoder["sha256"]:
            raise UserError(
                f"the latents at {latents.folder} were not made by the weights in {config.autoencoder.source}; "
                "remove the latents and run the stage encode again"
            )
        model = vdt.build(config)
        model.load_state_dict(dict(weights))
        self._model = model.to(self._device).eval().requires_grad_(False)

    def fill(self, info: SampleInfo, folder: Path, parts: Sequence[int]) -> bool:
        """Write the given parts of a set, and finish it if they were the last; False if a stop came first."""
        if self._main and info.num_clips < self._config.sample.num_clips:
            print(f"{info.task}: {info.num_clips} test clips are all there are", flush=True)
        samples = info.num_trajectories * sum(len(info.part_clips(part)) for part in parts)
        try:
            with Progress(f"sample {info.task}", samples * info.num_steps, "steps of clips") as progress:
                for part in parts:
                    clips = info.part_clips(part)
                    write_part(folder, part, self._part(info, clips, progress), [self._clips.clip_id(i) for i in clips])
        except Stopped:
            return False
        finish_set(folder, info)
        return True

    def _part(self, info: SampleInfo, clips: range, progress: Progress) -> ByteArray:
        """Samples of some clips, (clips, trajectories, T, H, W, 3) uint8."""
        pairs = [(clip, trajectory) for clip in clips for trajectory in range(info.num_trajectories)]
        size = self._config.sample.clips_per_batch
        frames = [self._batch(info, pairs[start : start + size], progress) for start in range(0, len(pairs), size)]
        flat = np.concatenate(frames)
        return flat.reshape(len(clips), info.num_trajectories, *flat.shape[1:])

    @torch.inference_mode()
    def _batch(self, info: SampleInfo, pairs: Sequence[tuple[int, int]], progress: Progress) -> ByteArray:
        """Samples of (clip, trajectory) pairs, (B, T, H, W, 3) uint8."""

        def on_step() -> None:
            progress.advance(len(pairs))
            if self._stop:
                raise Stopped

        given = torch.stack([self._given(clip, info.num_frames) for clip, _ in pairs]).to(self._device)
        mask = masks.batch([masks.for_task(info.task, info.num_frames, info.given_frames)] * len(pairs))
        keys = [samplers.NoiseKey(info.seed, info.task, clip, trajectory) for clip, trajectory in pairs]
        latents = samplers.generate(
            self._denoise, self._config.sample, self._config.diffusion, given, mask.to(self._device), keys, on_step
        )
        frames = autoencoder.decode(
            self._decoder, latents.flatten(0, 1) / self._scaling_factor, self._config.sample.decode_frames
        )
        return frames.reshape(len(pairs), info.num_frames, *frames.shape[1:])

    def _given(self, clip: int, num_frames: int) -> Tensor:
        """The first frames' scaled latents (the posterior's mean), (T, C, h, w) float32."""
        mean, _ = self._clips.moments(clip)
        return torch.from_numpy(mean[:num_frames].astype(np.float32)) * self._scaling_factor

    def _denoise(self, x: Tensor, times: Tensor) -> Tensor:
        with autocast(self._config, self._device):
            out: Tensor = self._model(x, times)
        return out
