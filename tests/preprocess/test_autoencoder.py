"""The autoencoder between pixels and latents: boundaries, loading, and the weights that come with the project."""

import shutil

import numpy as np
import pytest
import torch
from made_frames import save_autoencoder

from preprocess.autoencoder_data import reconstruction_psnr_db
from preprocess.geometry import prepare
from preprocess.street_scene import render_clip
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.data_config import AutoencoderConfig, DataConfig
from vdt_hpc.experiment.paths import checkout
from vdt_hpc.experiment.weights import AUTOENCODER_WEIGHTS
from vdt_hpc.model import autoencoder

CPU = torch.device("cpu")


def load(source, **fields):
    return autoencoder.load(AutoencoderConfig(source=str(source), **fields), CPU)


def test_bytes_become_signed_and_come_back():
    frames = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    images = autoencoder.to_signed(frames)
    assert images.shape == (1, 3, 16, 16)
    assert (images.min().item(), images.max().item()) == (-1.0, 1.0)
    assert np.array_equal(autoencoder.to_bytes(images), frames)


def test_to_bytes_clamps_and_rounds():
    images = torch.tensor([-3.0, -1.0, 0.0, 0.999, 5.0]).reshape(1, 1, 1, 5).repeat(1, 3, 1, 1)
    assert autoencoder.to_bytes(images)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_what_is_no_frame_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        autoencoder.to_signed(np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match="must be"):
        autoencoder.to_signed(np.zeros((1, 3, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="finite"):
        autoencoder.to_bytes(torch.full((1, 3, 2, 2), float("nan")))
    with pytest.raises(ValueError, match="must be"):
        autoencoder.to_bytes(torch.zeros(1, 2, 2, 3))


def test_encode_and_decode_in_small_batches(tiny_autoencoder):
    loaded = load(tiny_autoencoder)
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    mean, std = autoencoder.encode(loaded, frames, frames_per_batch=2)
    assert mean.shape == std.shape == (5, 4, 2, 2)
    assert mean.dtype == torch.float32
    decoded = autoencoder.decode(loaded, mean, frames_per_batch=2)
    assert decoded.shape == frames.shape
    assert decoded.dtype == np.uint8
    whole = autoencoder.decode(loaded, mean, frames_per_batch=5)
    assert np.abs(decoded.astype(int) - whole).max() <= 1


def test_identity(tiny_autoencoder, tmp_path):
    loaded = load(tiny_autoencoder)
    assert loaded.scaling_factor == 0.5
    assert loaded.identity()["sha256"] == load(tiny_autoencoder).sha256
    assert loaded.sha256 != load(save_autoencoder(tmp_path, seed=7)).sha256
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    assert not loaded.model.training


def test_another_geometry_is_refused(tiny_autoencoder, tmp_path):
    with pytest.raises(UserError, match=r"has downsampling 8; set autoencoder\.downsampling, now 4"):
        load(tiny_autoencoder, downsampling=4)
    sixteen = save_autoencoder(tmp_path, seed=0, latent_channels=16)
    with pytest.raises(UserError, match=r"has latent_channels 16; set autoencoder\.latent_channels, now 4"):
        load(sixteen)


def test_missing_and_damaged_weights_are_one_line(tiny_autoencoder, tmp_path):
    shutil.copytree(tiny_autoencoder, tmp_path / "copy")
    weights = tmp_path / "copy" / AUTOENCODER_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"copy cannot be loaded \(.*replace it"):
        load(tmp_path / "copy")
    weights.unlink()
    with pytest.raises(UserError, match=r"copy has no diffusion_pytorch_model.safetensors; put .* or train one"):
        load(tmp_path / "copy")
    with pytest.raises(UserError, match=r"no autoencoder configs/no/such: there is no folder .*configs/no/such"):
        load("configs/no/such")


def test_neither_offline_nor_in_a_job_is_the_hub_asked(monkeypatch, tmp_path):
    import huggingface_hub

    asked = []

    def snapshot(source, *, allow_patterns, local_files_only):
        asked.append((source, local_files_only))
        raise FileNotFoundError("no such snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"somebody/model: .* set offline .* put config.json and .* into "):
        load("somebody/model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(UserError, match=r"could not be fetched from the hub \(FileNotFoundError: no such snapshot\)"):
        load("somebody/model")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(
        UserError, match=r"jobs fetch nothing; run python -m vdt_hpc.weights somebody/model on a machine "
    ):
        load("somebody/model")
    assert [local for _, local in asked] == [True, False, True]


def test_the_folder_of_weights_comes_before_the_hub(monkeypatch, tmp_path, tiny_autoencoder):
    shutil.copytree(tiny_autoencoder, tmp_path / "somebody" / "model")
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(tmp_path))
    assert load("somebody/model").source == "somebody/model"


def test_the_committed_autoencoder_restores_streets_that_it_has_not_seen():
    frames = [render_clip(1234, "test", index, num_frames=1)[0] for index in range(48)]
    squares = np.stack([prepare(frame, DataConfig(frame_height_px=64)) for frame in frames])
    loaded = load("configs/autoencoder/streets")
    assert reconstruction_psnr_db(loaded.model, squares).mean() >= 28.0
    mean, _ = autoencoder.encode(loaded, squares, 48)
    assert float(mean.std()) * loaded.scaling_factor == pytest.approx(1.0, abs=0.1)


def test_the_committed_autoencoder_is_small():
    folder = checkout() / "configs" / "autoencoder" / "streets"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
