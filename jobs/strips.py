"""Film strips while training: the same validation clips again and again, from the averaged weights as they are.

The noise depends on the run's seed and the clip alone, so strips of two moments differ by the weights alone.
No picture ends a training: what stands in the way of one is said in one line.

Legend: N clips, T frames, C latent channels, h x w latent cells, H x W pixels.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jobs import schedule
from jobs.memory import is_out_of_memory
from vdt_hpc import pictures
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.model import autoencoder, masks, samplers, schedules
from vdt_hpc.model.arithmetic import autocast, working_dtype
from vdt_hpc.model.autoencoder import Autoencoder
from vdt_hpc.model.noise_key import NoiseKey
from vdt_hpc.pictures import StripRow
from vdt_hpc.stopping import Stopped
from vdt_hpc.store import strips
from vdt_hpc.store.latents import ByteArray, LatentSet


class Strips:
    """Draws the strips of a run; one process of the run does it, while the others wait.

    Args:
        config: the run; the first `train.num_strips` validation clips are drawn (all of them where there are fewer),
            for the first task that has a weight, given what `sample` gives.
        latents: its latents.
        device: where the model is.
        folder: where the pictures go.
        stop: asked after every call of the model.
    """

    def __init__(
        self, config: RunConfig, latents: LatentSet, device: torch.device, folder: Path, stop: Callable[[], bool]
    ) -> None:
        self._config, self._device, self._folder, self._stop = config, device, folder, stop
        self._clips = latents.split("val")
        self._scaling_factor = latents.manifest.scaling_factor
        self._task = next(iter(config.tasks.weights()))
        self._given = config.sample.given(self._task, config.model.num_frames)
        self._generated = [frame for frame in range(config.model.num_frames) if frame not in self._given]
        sampler = "euler" if config.diffusion.prediction == "flow" else "ddim"
        self._sampling = config.sample.model_copy(update={"sampler": sampler, "num_steps": config.train.strip_steps})
        self._decoder: Autoencoder | None = None
        self._num_clips = min(config.train.num_strips, len(self._clips))
        if self._num_clips and (reason := self._why_not(latents)):
            print(f"no film strips while training: {reason}", flush=True)
            self._num_clips = 0

    def _why_not(self, latents: LatentSet) -> str:
        try:
            schedules.check(self._sampling, self._config.diffusion, "train.strip_steps")
            sha256 = autoencoder.weights_sha256(self._config.autoencoder)
        except UserError as error:
            return str(error)
        if sha256 != latents.manifest.autoencoder["sha256"]:
            return f"the latents at {latents.folder} were not made by the weights in {self._config.autoencoder.source}"
        return ""

    def draw_if_due(self, denoise: samplers.Denoiser, before: int, clips_seen: int) -> Path | None:
        """As `draw`, if a strip is due in (before, clips_seen], or at the end of training, and is not there yet."""
        train = self._config.train
        due = clips_seen >= train.total_clips or schedule.crosses(train.strips_every_clips, before, clips_seen)
        if not due or strips.strip_path(self._folder, clips_seen).exists():
            return None
        return self.draw(denoise, clips_seen)

    def draw(self, denoise: samplers.Denoiser, clips_seen: int) -> Path | None:
        """Generate the clips and write the picture, finished by rename.

        Args:
            denoise: the averaged weights' (x (1, T, C, h, w), times, mask) -> output, in the working type.
            clips_seen: the moment; it names the file.

        Returns:
            The picture's path; None if there is nothing to draw, if a stop came, or if it could not be made (said).
        """
        if not self._num_clips:
            return None
        try:
            samples = self._decode(self._generate(denoise))
            strip = pictures.film_strip([self._rows(*one) for one in enumerate(samples)], title=self._title(clips_seen))
            path = strips.strip_path(self._folder, clips_seen)
            pictures.save(strip, path.with_suffix(""), ("png",))
        except Stopped:
            return None
        except (UserError, ValueError, RuntimeError, MemoryError) as error:  # ValueError: samples that are not finite
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            print(f"no film strip at clip {clips_seen:,}: {str(error).splitlines()[0]}", flush=True)
            return None
        return path

    @torch.no_grad()
    def _generate(self, denoise: samplers.Denoiser) -> Tensor:
        """Scaled latents (N, T, C, h, w); clip by clip, so that memory never depends on how many there are."""
        num_frames, dtype = self._config.model.num_frames, working_dtype(self._config)

        def in_working_type(x: Tensor, times: Tensor, mask: Tensor) -> Tensor:
            with autocast(self._config, self._device):
                return denoise(x.to(dtype), times, mask)

        def on_call() -> None:
            if self._stop():
                raise Stopped

        clips = []
        for clip in range(self._num_clips):
            mean, _ = self._clips.moments(clip, frames=slice(num_frames))
            given = torch.from_numpy(mean.astype(np.float32))[None] * self._scaling_factor
            cells = (given.shape[-2], given.shape[-1])
            mask = masks.batch([masks.for_sampling(self._task, self._sampling, num_frames, cells, clip)])
            keys = [NoiseKey(self._config.seed, self._task, clip, trajectory=0)]
            clips.append(
                samplers.generate(
                    in_working_type,
                    self._sampling,
                    self._config.diffusion,
                    given.to(self._device),
                    mask.to(self._device),
                    keys,
                    on_call,
                )
            )
        return torch.cat(clips)

    def _decode(self, latents: Tensor) -> ByteArray:
        """Frames (N, generated ones, H, W, 3); the autoencoder is on the device only meanwhile."""
        if self._decoder is None:
            self._decoder = autoencoder.load(self._config.autoencoder, torch.device("cpu"), fetch=False)
        generated = latents[:, self._generated] / self._scaling_factor
        self._decoder.model.to(self._device)
        try:
            frames = autoencoder.decode(self._decoder, generated.flatten(0, 1), self._config.sample.decode_frames)
        finally:
            self._decoder.model.to("cpu")
        return frames.reshape(*generated.shape[:2], *frames.shape[1:])

    def _rows(self, clip: int, generated: ByteArray) -> list[StripRow]:
        """Truth above sample; the sample's given frames are the true ones."""
        truth = self._clips.frames(clip)[: self._config.model.num_frames]
        sample = truth.copy()
        sample[self._generated] = generated
        above = "truth" if self._given else "real clip"
        return [StripRow(above, truth, self._given), StripRow("sample", sample, self._given)]

    def _title(self, clips_seen: int) -> str:
        given = len(self._given)
        what = f"{self._task.replace('_', ' ')}, {given} frame{'s' if given > 1 else ''} given" if given else self._task
        how = f"{self._sampling.sampler} in {self._sampling.num_steps} steps"
        return f"{self._config.name}, {clips_seen:,} clips seen: {what}, {how}"


def take_back(folder: Path, resumed_at: int) -> None:
    """Remove the strips of moments beyond a position: training goes on from there."""
    beyond = [path for clips_seen, path in strips.find(folder).items() if clips_seen > resumed_at]
    for path in beyond:
        path.unlink()
    if beyond:
        print(f"{folder}: removing {len(beyond)} film strip(s) beyond clip {resumed_at:,}", flush=True)
