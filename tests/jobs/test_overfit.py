"""Four clips learnt by heart: the whole path from frames to pixels can represent what it is shown."""

import numpy as np
import pytest
import torch

from jobs import train
from jobs.examples import Drawer, prepare
from jobs.trainer import denoising_losses
from preprocess import encode, streets
from tests.jobs import made_up
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.experiment.signature import signature
from vdt_hpc.model import autoencoder, masks, objective, samplers, vdt
from vdt_hpc.model.noise_key import NoiseKey
from vdt_hpc.store import checkpoint
from vdt_hpc.store.latents import LatentSet

NUM_CLIPS, GIVEN, SIDE_PX, NUM_EXAMPLES = 4, 2, 32, 128
CPU = torch.device("cpu")
RUN = {
    "name": "by-heart",
    "data": {"dataset": "streets", "frame_height_px": SIDE_PX, "frames_per_clip": 8},
    "streets": {
        "num_train_clips": NUM_CLIPS, "num_val_clips": 1, "num_test_clips": 1, "frame_width_px": 64,
        "frame_height_px": SIDE_PX,
    },
    "autoencoder": {"source": "configs/autoencoder/streets", "both_flips": False},
    "model": {"width": 128, "depth": 4, "num_heads": 4, "num_frames": 8},
    "tasks": {"prediction": 1.0, "unconditional": 0.0, "prefix_max_frames": 3},
    "optim": {"lr": 3e-3, "warmup_clips": 200, "ema_halflife_clips": 500},
    "batch": {"global_clips": 8},
    "train": {"total_clips": 5600, "precision": "fp32", "num_strips": 0, "val_every_clips": 10**6},
    "sample": {"tasks": ["prediction"], "given_frames": GIVEN},
}  # fmt: skip


@pytest.mark.parametrize(("prediction", "sampler"), [("noise", "ddim"), ("flow", "heun")])
def test_four_clips_are_learnt_by_heart(prediction, sampler, tmp_path):
    sample = {**RUN["sample"], "sampler": sampler, "num_steps": 50 if sampler == "ddim" else 25}
    run = RunConfig.model_validate({**RUN, "diffusion": {"prediction": prediction}, "sample": sample}, strict=False)
    where = made_up.partition(tmp_path, max_clips_per_gpu=8)
    for stage in (streets, encode, train):
        assert stage.run(run, where).complete
    paths = paths_for(run, where)
    latents = LatentSet.open(run, paths)
    moments = made_up.moments(run, paths)
    learnt = vdt.build(run)
    learnt.load_state_dict(dict(checkpoint.newest(paths.checkpoints, signature(run)).load("ema")))

    assert loss_of(learnt, run, moments) < 0.05 * loss_of(vdt.build(run, run.seed), run, moments)

    clips = [moments.window(clip, 0, slice(None))[0].astype(np.float32) for clip in range(NUM_CLIPS)]
    truth = torch.from_numpy(np.stack(clips)) * latents.manifest.scaling_factor
    mask = masks.batch([masks.prediction(run.model.num_frames, GIVEN)] * NUM_CLIPS)
    keys = [NoiseKey(0, "prediction", clip, 0) for clip in range(NUM_CLIPS)]
    with torch.inference_mode():
        predicted = samplers.generate(learnt, run.sample, run.diffusion, truth, mask, keys)
    decoder = autoencoder.load(run.autoencoder, CPU)
    pixels = [decoded(decoder, each / latents.manifest.scaling_factor) for each in (predicted, truth)]
    errors = np.square(pixels[0] - pixels[1])[:, GIVEN:].mean((1, 2, 3, 4))
    assert (10 * np.log10(255**2 / errors) > 25).all(), errors


def loss_of(model, run, moments):
    """Mean loss of fixed examples: the same clips, masks, times and noise for every model."""
    drawer = Drawer(run, len(moments), 1, moments.clip_frames)
    batch = prepare(run, moments, [drawer.validation(index, NUM_EXAMPLES) for index in range(NUM_EXAMPLES)])
    with torch.inference_mode():
        return denoising_losses(model, objective.build(run.diffusion), batch, CPU).total.mean().item()


def decoded(decoder, clips):
    """(B, T, C, h, w) unscaled latents -> (B, T, H, W, 3) pixels of 0 to 255."""
    frames = autoencoder.decode(decoder, clips.flatten(0, 1), 30)
    return frames.reshape(*clips.shape[:2], *frames.shape[1:]).astype(np.float64)
