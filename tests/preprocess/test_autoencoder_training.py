"""The stage `autoencoder`: it learns, resumes exactly, is not repeated, and writes what diffusers reads."""

import json

import numpy as np
import pytest
import torch

from preprocess import autoencoder, autoencoder_fit
from preprocess.geometry import prepare
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.data_config import AutoencoderConfig, AutoencoderTrainingConfig, DataConfig
from vdt_hpc.experiment.weights import AUTOENCODER_WEIGHTS
from vdt_hpc.model import autoencoder as autoencoders
from vdt_hpc.stopping import StopFlag

SETTINGS = {"block_channels": [8, 8, 16, 16], "num_steps": 4, "batch_frames": 2, "save_every_steps": 2}


@pytest.fixture
def training(bench, tree, tmp_path):
    def make(**fields):
        settings = {**SETTINGS, "output": str(tmp_path / "out"), **fields}
        return bench(data={"root": str(tree)}, autoencoder_training=settings)

    return make


def run(bench):
    return autoencoder.run(bench.config, bench.partition)


def fit(**fields):
    settings = AutoencoderTrainingConfig(**{**SETTINGS, "block_channels": (8, 8, 16, 16), **fields})
    return autoencoder_fit.Fit(settings, 16, seed=0, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def frames():
    ramp = np.linspace(0, 255, 48).astype(np.uint8)
    return np.stack([np.broadcast_to(np.roll(ramp, 5 * shift)[None, :, None], (24, 48, 3)) for shift in range(6)])


def test_it_learns(frames):
    training = fit(num_steps=400, batch_frames=4, lr=3e-2)
    measured = [training.advance(frames) for _ in range(40)]
    assert np.mean(measured[-8:]) > np.mean(measured[:8]) + 2


def test_a_restored_training_goes_on_exactly(frames):
    through = fit()
    for _ in range(4):
        through.advance(frames)
    first = fit()
    first.advance(frames)
    first.advance(frames)
    second = fit()
    second.restore({name: value.clone() for name, value in first.state().items()})
    second.advance(frames)
    second.advance(frames)
    assert second.step == through.step == 4
    state = second.state()
    for name, value in through.state().items():
        assert torch.equal(state[name], value), name


def test_batches_are_functions_of_seed_and_step(frames):
    settings = AutoencoderTrainingConfig(**{**SETTINGS, "block_channels": (8, 8, 16, 16)})
    one, again, other = (autoencoder_fit.draw_batch(frames, settings, 16, 0, step) for step in (5, 5, 6))
    assert one.shape == (2, 16, 16, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_rate_rises_and_falls():
    settings = AutoencoderTrainingConfig(lr=1.0, num_steps=1000)
    rates = [autoencoder_fit.learning_rate(settings, step) for step in (0, 199, 600, 999)]
    assert rates[0] < 0.01
    assert rates[1] > 0.9
    assert rates[1] > rates[2] > rates[3] >= 0


def test_the_finishing_steps_see_frames_as_they_are_encoded(frames):
    settings = AutoencoderTrainingConfig(**{**SETTINGS, "block_channels": (8, 8, 16, 16), "finishing_steps": 100})
    squares = [prepare(frame, DataConfig(frame_height_px=16)) for frame in frames]
    known = {image.tobytes() for square in squares for image in (square, np.ascontiguousarray(square[:, ::-1]))}
    batch = autoencoder_fit.draw_batch(frames, settings, 16, 0, settings.num_steps + 3)
    assert {image.tobytes() for image in batch} <= known
    rates = [autoencoder_fit.learning_rate(settings, settings.num_steps + step) for step in (0, 50, 99)]
    assert settings.lr > rates[0] > rates[1] > rates[2] > 0


def test_the_stage(training, tmp_path):
    bench = training()
    assert "dB on held-out frames" in run(bench).summary
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["held_out"]["num_frames"] == 30
    assert record["recipe"]["training"]["num_steps"] == 4
    loaded = autoencoders.load(AutoencoderConfig(source=str(tmp_path / "out")), torch.device("cpu"))
    assert loaded.sha256 == record["weights_sha256"]
    assert loaded.scaling_factor == pytest.approx(1.0 / record["latents"]["std"], rel=1e-3)
    assert "nothing to do" in run(bench).summary
    with pytest.raises(UserError, match="of another recipe"):
        run(training(num_steps=5))


def test_a_stopped_training_goes_on_to_the_same_weights(training, tmp_path, monkeypatch):
    run(training(output=str(tmp_path / "through")))
    flag = StopFlag()
    original = autoencoder_fit.Fit.advance

    def then_stop(self, frames):
        flag.reason = "SIGTERM"
        return original(self, frames)

    monkeypatch.setattr(StopFlag, "install", lambda self: flag)
    monkeypatch.setattr(autoencoder_fit.Fit, "advance", then_stop)
    bench = training(output=str(tmp_path / "stopped"))
    result = run(bench)
    assert (result.complete, result.summary) == (False, "autoencoder: stopped by SIGTERM at step 1")
    assert not (tmp_path / "stopped").exists()
    monkeypatch.undo()
    assert run(bench).complete
    weights = [(tmp_path / name / AUTOENCODER_WEIGHTS).read_bytes() for name in ("through", "stopped")]
    assert weights[0] == weights[1]


def test_without_a_section_there_is_nothing_to_train(bench):
    with pytest.raises(UserError, match="no section autoencoder_training"):
        run(bench())
