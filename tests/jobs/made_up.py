"""A tiny run whose latents are made up: nothing of the other stages is needed to test this one."""

import json

import numpy as np

from jobs.opening import open_moments
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.experiment.signature import latents_signature
from vdt_hpc.store import latents, manifest
from vdt_hpc.store.latents import LatentSet, ShardContent

FRAMES, CHANNELS, SIDE = 6, 2, 4
COUNTS = {"train": 7, "val": 3, "test": 3}


def config(**changes):
    """A run of seconds; `changes` are `section__field` values."""
    tree = {
        "name": "tiny",
        "data": {"dataset": "made-up", "frames_per_clip": FRAMES, "frame_height_px": 8 * SIDE},
        "autoencoder": {"source": "nowhere", "latent_channels": CHANNELS},
        "model": {"width": 16, "depth": 1, "num_heads": 2, "num_frames": 5},
        "tasks": {"prefix_max_frames": 3},
        "optim": {"lr": 1e-3, "warmup_clips": 12, "ema_halflife_clips": 30, "ema_rampup_fraction": 0.5},
        "batch": {"global_clips": 6},
        "train": {
            "total_clips": 60, "precision": "fp32", "checkpoint_every_clips": 18, "log_every_clips": 6,
            "val_every_clips": 30, "num_val_clips": 3,
        },
        "sample": {"num_steps": 3, "num_clips": 3, "clips_per_batch": 2},
    }  # fmt: skip
    for name, value in changes.items():
        section, _, field = name.partition("__")
        if field:
            tree[section][field] = value
        else:
            tree[section] = value
    return RunConfig.model_validate_json(json.dumps(tree))


def partition(root, **fields):
    return Partition(**{"name": "here", "executor": "local", "root": str(root), "max_clips_per_gpu": 4, **fields})


def write_latents(run, where, counts=None, seed=0, identity=None):
    """Write made-up latents for a run; waves that move, so that there is something to learn.

    `identity` is that of the autoencoder, for a test that has one.
    """
    paths = paths_for(run, where)
    frames, channels, side = run.data.frames_per_clip, run.autoencoder.latent_channels, run.latent_height
    generator = np.random.default_rng(seed)
    shards = []
    for split, count in (counts or COUNTS).items():
        if not count:
            continue
        time, channel, row, column = np.meshgrid(
            *(np.arange(size) for size in (frames, channels, side, side)), indexing="ij"
        )
        phase, speed, slope = generator.uniform(-1, 1, (3, count, 1, 1, 1, 1))
        mean = 4 * np.sin(2 * phase + speed * time + slope * row + 0.5 * column + channel)
        mean = np.stack([mean, mean[..., ::-1]], axis=1).astype(np.float16)
        size = run.data.frame_height_px
        pixels = None if split == "train" else np.zeros((count, frames, size, size, 3), np.uint8)
        path = paths.latents / latents.shard_name(split, 0)
        names = [f"{split}-{clip}" for clip in range(count)]
        latents.write_shard(path, ShardContent(tuple(names), mean, np.full_like(mean, 0.1), pixels))
        shards.append(latents.describe_shard(path, split))
    identity = identity or {"source": "nowhere", "sha256": "made-up", "scaling_factor": 0.25}
    written = manifest.Manifest(run.data.dataset, latents_signature(run), "made-up", {}, identity, (), tuple(shards))
    (paths.latents / manifest.MANIFEST).unlink(missing_ok=True)  # of a test that wants other latents in their place
    manifest.write_manifest(paths.latents, written)
    return paths


def moments(run, paths, split="train", memory_gb=None, num_clips=None):
    """A split of written latents, opened by a lone process."""
    group = ProcessGroup(Task(), paths.root)
    return open_moments(LatentSet.open(run, paths), split, group, memory_gb, lambda: False, num_clips)
