"""Fills sample sets part by part: latents out of the model, frames out of the autoencoder.

Legend: B samples of a batch, T frames, C latent channels, h x w latent cells, H x W pixels.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jobs.memory import AtOnce
from vdt_hpc.dist import Task, cpus_of_task, device_name, device_of
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import window_plan
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.sample_config import SampleConfig
from vdt_hpc.model import arithmetic, autoencoder, execution, masks, schedules, vdt, windows
from vdt_hpc.model.noise_key import NoiseKey
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import StopFlag
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.sample_info import SampleInfo
from vdt_hpc.store.samples import ByteArray, Pace, finish_set, write_part


class Generator:
    """Generates samples of a run on one device.

    Args:
        config: the run.
        latents: its latents; the test split gives the frames.
        weights: the averaged weights.
        task: which of the job's processes this is.
        stop: polled after every call of the model.
        partition: where, which says how the model is run.

    Raises:
        UserError: no autoencoder, or not the one that made the latents; steps that the sampler cannot space;
            no compiler where one is needed.
    """

    def __init__(
        self, config: RunConfig, latents: LatentSet, weights: Mapping[str, Tensor], task: Task, stop: StopFlag,
        partition: Partition,
    ) -> None:  # fmt: skip
        for way in config.sample.ways:
            schedules.check(way, config.diffusion)
        torch.set_num_threads(cpus_of_task(task))
        self._config, self._stop, self._main = config, stop, task.rank == 0
        self._device = device_of(task)
        execution.prepare(config, partition, self._device)
        clips, frames = config.sample.clips_per_batch, config.sample.decode_frames
        self._clips_at_once = AtOnce("clip", "sample.clips_per_batch", clips, self._device)
        self._frames_at_once = AtOnce("frame", "sample.decode_frames", frames, self._device)
        self._clips = latents.split("test")
        self._scaling_factor = latents.manifest.scaling_factor
        precision = config.sample.decode_precision
        self._decoder = autoencoder.load(config.autoencoder, self._device, precision=precision)
        if self._decoder.sha256 != latents.manifest.autoencoder["sha256"]:
            raise UserError(
                f"the latents at {latents.folder} were not made by the weights in {config.autoencoder.source}; "
                "remove the latents and run the stage encode again"
            )
        model = vdt.build(config)
        model.load_state_dict(dict(weights))
        self._model = model.to(self._device).eval().requires_grad_(False)
        arithmetic.keep_for_products(self._model, config)
        execution.set_up(self._model, partition)

    def fill(self, info: SampleInfo, folder: Path, parts: Sequence[int]) -> None:
        """Write the given parts of a set, and finish it if they were the last.

        Raises:
            UserError: not even one clip fits into memory.
            Stopped: by a signal; the parts before it are kept.
        """
        if self._main and info.num_clips < self._config.sample.num_clips:
            print(f"{info.task}: {info.num_clips} test clips are all there are", flush=True)
        samples = sum(info.counts.of_clip(clip) for part in parts for clip in info.part_clips(part))
        calls = schedules.num_calls(self._way(info)) * len(self._windows(info))
        with (
            arithmetic.products(self._config, self._device),
            Progress(f"sample {info.task}", samples * calls, "calls of the model") as progress,
        ):
            for part in parts:
                clips, started_s = info.part_clips(part), time.perf_counter()
                frames = self._part(info, clips, progress)
                seconds = time.perf_counter() - started_s
                pace = Pace(seconds, sum(map(len, frames)), device_name(self._device))
                write_part(folder, part, frames, [self._clips.clip_id(clip) for clip in clips], pace)
        finish_set(folder, info)

    def _windows(self, info: SampleInfo) -> list[range]:
        return window_plan.plan(info.num_frames, self._config.model.num_frames, self._config.overlap_frames, info.given)

    def _way(self, info: SampleInfo) -> SampleConfig:
        """How a set is sampled."""
        return next(
            way for way in self._config.sample.ways if (way.sampler, way.num_steps) == (info.sampler, info.num_steps)
        )

    def _part(self, info: SampleInfo, clips: range, progress: Progress) -> list[ByteArray]:
        """Samples of some clips, of each (trajectories, T, H, W, 3) uint8."""
        pairs = [(clip, trajectory) for clip in clips for trajectory in range(info.counts.of_clip(clip))]
        frames: list[ByteArray] = []
        while left := pairs[len(frames) :]:
            latents = self._clips_at_once.fitting(len(left), partial(self._generate, info, left, progress))
            # Clip by clip: the decoder sees the same shapes, and gives the same bits, whatever the batch was.
            frames += [self._frames_at_once.fitting(len(clip), partial(self._decode, clip)) for clip in latents]
        of_clips = itertools.groupby(zip(pairs, frames, strict=True), key=lambda made: made[0][0])
        return [np.stack([sample for _, sample in samples]) for _, samples in of_clips]

    @torch.inference_mode()
    def _generate(
        self, info: SampleInfo, left: Sequence[tuple[int, int]], progress: Progress, num_clips: int
    ) -> Tensor:
        """Scaled latents of the first (clip, trajectory) pairs of those that are left, (B, T, C, h, w)."""
        pairs = left[:num_clips]

        def on_call() -> None:
            progress.advance(len(pairs))
            self._stop.check()

        config, sample = self._config, self._way(info)
        given = torch.stack([self._given(clip, info.num_frames) for clip, _ in pairs]).to(self._device)
        cells = (config.latent_height, config.latent_height)
        wanted = [masks.for_sampling(info.task, sample, info.num_frames, cells, clip) for clip, _ in pairs]
        mask = masks.batch(wanted).to(self._device)
        keys = [NoiseKey(info.seed, info.task, clip, trajectory) for clip, trajectory in pairs]
        return windows.generate(
            self._denoise, sample, config.diffusion, given, mask, keys, self._windows(info), on_call
        )

    def _decode(self, latents: Tensor, frames_per_batch: int) -> ByteArray:
        """Frames (T, H, W, 3) of one clip's scaled latents (T, C, h, w)."""
        return autoencoder.decode(self._decoder, latents / self._scaling_factor, frames_per_batch)

    def _given(self, clip: int, num_frames: int) -> Tensor:
        """The first frames' scaled latents (the posterior's mean), (T, C, h, w) float32; zero beyond the clip's end,
        where nothing can be given.
        """
        mean, _ = self._clips.moments(clip)
        latents = torch.from_numpy(mean[:num_frames].astype(np.float32)) * self._scaling_factor
        beyond = latents.new_zeros(num_frames - len(latents), *latents.shape[1:])
        return torch.cat([latents, beyond])

    def _denoise(self, x: Tensor, times: Tensor, mask: Tensor) -> Tensor:
        with arithmetic.autocast(self._config, self._device):
            out: Tensor = self._model(x, times, mask)
        return out
