"""Made-up runs: latents, samples and a training log through the store, an autoencoder with random weights."""

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKL

from vdt_hpc import files, pictures
from vdt_hpc.commandline import load_partition
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.signature import latents_signature, signature
from vdt_hpc.experiment.stages import load
from vdt_hpc.model import autoencoder
from vdt_hpc.store import latents as latents_store
from vdt_hpc.store import ledger
from vdt_hpc.store.latents import ShardContent
from vdt_hpc.store.manifest import MANIFEST, Manifest, write_manifest
from vdt_hpc.store.sample_info import SampleInfo
from vdt_hpc.store.samples import finish_set, write_part
from vdt_hpc.store.strips import strip_path


@dataclass
class MadeUp:
    """A run whose samples are whatever the test wants."""

    config: RunConfig
    root: Path
    frames: np.ndarray
    """True test clips, (N, T, H, W, 3) uint8."""

    @property
    def paths(self):
        return RunPaths(self.config, self.root)

    @property
    def partition(self):
        return load_partition("local").model_copy(update={"root": str(self.root)})

    def clip_id(self, index):
        return f"town_{index:06d}"

    def write_latents(self, **told):
        """Encode the frames; `told` goes into the manifest."""
        device = torch.device("cpu")
        encoder = autoencoder.load(self.config.autoencoder, device)
        num_clips, num_frames = self.frames.shape[:2]
        mean, std = autoencoder.encode(encoder, self.frames.reshape(-1, *self.frames.shape[2:]), 60)
        halves = [
            moment.numpy().reshape(num_clips, 1, num_frames, *moment.shape[1:]).astype(np.float16)
            for moment in (mean, std)
        ]
        folder = self.paths.latents
        name = latents_store.shard_name("test", 0)
        ids = [self.clip_id(index) for index in range(num_clips)]
        latents_store.write_shard(folder / name, ShardContent(tuple(ids), *halves, self.frames))
        told = {"left_out": ()} | told
        manifest = Manifest(
            dataset=self.config.data.dataset, signature=latents_signature(self.config), source_fingerprint="made-up",
            recipe={}, autoencoder=encoder.identity(),
            shards=(latents_store.describe_shard(folder / name, "test"),), **told,
        )  # fmt: skip
        (folder / MANIFEST).unlink(missing_ok=True)  # of a test that wants other latents in their place
        write_manifest(folder, manifest)
        self.fingerprint = manifest.fingerprint

    def info(self, task="prediction", **changes):
        num_frames = self.frames.shape[1]
        given = self.config.sample.given(task, num_frames)
        info = SampleInfo(
            run=self.config.name, dataset=self.config.data.dataset, task=task, given_frames=len(given), given=given,
            num_frames=num_frames, window_frames=num_frames, num_clips=len(self.frames), num_trajectories=1,
            sampler="ddim", num_steps=50, seed=0, checkpoint="clips-000003200", clips_seen=3200,
            run_signature=signature(self.config), latents_fingerprint=self.fingerprint, code_commit="0123456789ab",
        )  # fmt: skip
        return replace(info, **changes)

    def write_samples(self, samples, info=None, pace=None):
        """Write (N, K, T, H, W, 3) uint8 as a finished set; returns its info."""
        info = info or self.info(num_trajectories=samples.shape[1])
        folder = self.paths.samples / info.name
        for part in range(info.num_parts()):
            clips = info.part_clips(part)
            write_part(folder, part, samples[clips.start : clips.stop], [self.clip_id(index) for index in clips], pace)
        assert finish_set(folder, info)
        return info

    def write_log(self, total=3200, restarts=(0, 1200)):
        lines = [
            {"kind": "start", "clips_seen": at, "partition": ("a100", "a40")[i % 2]} for i, at in enumerate(restarts)
        ]
        generator = np.random.default_rng(0)
        for clips in range(16, total + 1, 16):
            loss = 0.12 + np.exp(-clips / 300) + 0.03 * generator.standard_normal()
            lines.append(
                {
                    "kind": "train",
                    "clips_seen": clips,
                    "loss": loss,
                    "lr": 1e-4 * min(1, clips / 400),
                    "clips_per_s": 9.5,
                }
            )
        for clips in range(total // 4, total + 1, total // 4):
            lines.append({"kind": "validation", "clips_seen": clips, "val_loss": 0.16 + np.exp(-clips / 300)})
        lines.sort(key=lambda line: line["clips_seen"])
        files.write_text(self.paths.progress_log, "".join(json.dumps(line) + "\n" for line in lines))

    def write_ledger(self):
        """Two jobs, of which the first was killed; no submission file, so that nobody knows what a task had."""
        first = {"job": "7-0", "partition": "a100", "cluster": "", "node": "gpu1", "world_size": 5}
        second = {**first, "job": "8-0", "partition": "a40", "world_size": 4}
        lines = [
            {"event": "start", **first, "time": "2026-01-05T08:00:00+00:00", "clips": 0},
            {"event": "end", "job": "7-0", "time": None, "why": ledger.KILLED, "clips": 1300, "lost_clips": 100},
            {"event": "start", **second, "time": "2026-01-05T11:00:00+00:00", "clips": 1200},
            {"event": "end", "job": "8-0", "time": "2026-01-05T13:00:00+00:00", "why": "complete", "clips": 3200,
             "lost_clips": 0},
        ]  # fmt: skip
        files.write_text(self.paths.ledger, "".join(json.dumps(line) + "\n" for line in lines))

    def write_strips(self, moments=(800, 1600, 2400, 3200)):
        for clips_seen in moments:
            rows = [pictures.StripRow(label, self.frames[0], (0, 1)) for label in ("truth", "sample")]
            strip = pictures.film_strip([rows], title=f"{clips_seen:,} clips seen")
            pictures.save(strip, strip_path(self.paths.strips, clips_seen).with_suffix(""), ("png",))

    def write_config(self):
        files.write_text(self.paths.run_config, yaml.safe_dump(self.config.model_dump(mode="json")))

    def evaluate(self, **changes):
        evaluate = self.config.evaluate.model_copy(update=changes)
        return load("evaluate")(self.config.model_copy(update={"evaluate": evaluate}), self.partition)

    def report(self):
        return load("report")(self.config, self.partition)


def smooth_clips(num_clips=4, num_frames=12, size=16, seed=0):
    """Clips of a soft texture that drifts, (N, T, H, W, 3) uint8."""
    generator = np.random.default_rng(seed)
    y, x, t = np.meshgrid(np.arange(size), np.arange(size), np.arange(num_frames), indexing="ij")
    clips = []
    for _ in range(num_clips):
        speed, wave, phase = generator.uniform(-0.3, 0.3), generator.uniform(0.1, 0.4, 2), generator.uniform(0, 6, 3)
        channels = [np.sin(wave[0] * x + wave[1] * y + speed * t + shift) for shift in phase]
        clips.append((127.5 + 110 * np.stack(channels, -1)).transpose(2, 0, 1, 3))
    return np.stack(clips).round().astype(np.uint8)


def make_run(root, frames, autoencoder_folder, **data):
    tree = {
        "name": "made-up",
        "data": {"dataset": "streets", "frame_height_px": frames.shape[2], "frames_per_clip": frames.shape[1], **data},
        "autoencoder": {"source": str(autoencoder_folder)},
        "model": {"width": 32, "depth": 1, "num_heads": 2, "num_frames": frames.shape[1]},
        "tasks": {"prefix_max_frames": 4},
    }
    run = MadeUp(strict.validate(RunConfig, tree), Path(root), frames)
    run.write_latents()
    run.write_config()
    return run


@pytest.fixture(scope="session")
def random_autoencoder(tmp_path_factory):
    """Folder of a tiny AutoencoderKL with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("autoencoder")
    AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, norm_num_groups=4, latent_channels=4,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture
def made_up(tmp_path, random_autoencoder, monkeypatch):
    """A made-up run of 4 clips of 12 frames of 16 px; no pretrained weights anywhere."""
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")  # threads cost more than they bring on pictures this small
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run = make_run(tmp_path / "runs", smooth_clips(), random_autoencoder)
    generator = np.random.default_rng(1)
    noise = generator.integers(-20, 20, (4, 2, *run.frames.shape[1:]))
    run.samples = np.clip(run.frames[:, None] + noise, 0, 255).astype(np.uint8)
    yield run
    torch.set_num_threads(num_threads)


class TinyExtractor(torch.nn.Module):
    """Stands in for I3D: same call, random projection of the clip's mean colours over time."""

    def __init__(self, num_features: int = 6):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(3 * 8 * 8, num_features, generator=generator))

    def forward(self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False):
        assert not rescale and not resize and return_features
        assert x.shape[1] == 3 and x.shape[3] == 224 and x.shape[4] == 224
        pooled = torch.nn.functional.adaptive_avg_pool3d(x, (1, 8, 8)).flatten(1)
        return pooled @ self.weight


@pytest.fixture
def tiny_i3d(tmp_path):
    """Puts the stand-in where I3D's weights belong, when called."""

    def put():
        folder = tmp_path / "weights"
        folder.mkdir(exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            torch.jit.script(TinyExtractor()).save(str(folder / "i3d_torchscript.pt"))

    return put
