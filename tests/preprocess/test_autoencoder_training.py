"""The stage `autoencoder`: it learns, resumes exactly, is not repeated, and writes what diffusers reads."""

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from made_frames import write_sequence

from preprocess import autoencoder, autoencoder_fit
from preprocess.autoencoder_data import load_frames
from preprocess.geometry import prepare
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.data_config import AutoencoderConfig, AutoencoderTrainingConfig, DataConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.weights import AUTOENCODER_WEIGHTS
from vdt_hpc.model import autoencoder as autoencoders
from vdt_hpc.stopping import StopFlag

HOME = Path(__file__).parents[2]
SETTINGS = {"block_channels": [8, 8, 16, 16], "num_steps": 4, "batch_frames": 2, "save_every_steps": 2}
DATA = DataConfig(frame_height_px=16)


@pytest.fixture
def training(bench, tree, tmp_path):
    def make(data=None, **fields):
        settings = {**SETTINGS, "output": str(tmp_path / "out"), **fields}
        return bench(data={"root": str(tree), **(data or {})}, autoencoder_training=settings)

    return make


def run(bench):
    return autoencoder.run(bench.config, bench.partition)


def fit(**fields):
    settings = AutoencoderTrainingConfig(**{**SETTINGS, "block_channels": (8, 8, 16, 16), **fields})
    return autoencoder_fit.Fit(settings, DATA, seed=0, device=torch.device("cpu"))


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
    one, again, other = (autoencoder_fit.draw_batch(frames, settings, DATA, 0, step) for step in (5, 5, 6))
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


@pytest.mark.parametrize(
    "data",
    [
        DATA,
        DataConfig(frame_height_px=16, resize="area"),
        DataConfig(frame_height_px=16, crop="whole"),
        DataConfig(frame_height_px=8, frame_width_px=24, crop="whole", resize="bilinear"),
    ],
)
def test_the_finishing_steps_see_frames_as_they_are_encoded(frames, data):
    settings = AutoencoderTrainingConfig(**{**SETTINGS, "block_channels": (8, 8, 16, 16), "finishing_steps": 100})
    prepared = [prepare(frame, data) for frame in frames]
    known = {image.tobytes() for each in prepared for image in (each, np.ascontiguousarray(each[:, ::-1]))}
    batch = autoencoder_fit.draw_batch(frames, settings, data, 0, settings.num_steps + 3)
    assert {image.tobytes() for image in batch} <= known
    augmented = autoencoder_fit.draw_batch(frames, settings, data, 0, settings.num_steps - 1)
    assert augmented.shape == batch.shape == (2, data.frame_height_px, data.width_px, 3)
    rates = [autoencoder_fit.learning_rate(settings, settings.num_steps + step) for step in (0, 50, 99)]
    assert settings.lr > rates[0] > rates[1] > rates[2] > 0


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (DataConfig(frame_height_px=32), (64, 128)),
        (DataConfig(frame_height_px=32, frame_width_px=96, crop="whole"), (96, 192)),
        (DataConfig(frame_height_px=256), (128, 256)),
    ],
)
def test_frames_in_memory_keep_twice_the_size_that_is_encoded(bench, tmp_path, data, size):
    write_sequence(tmp_path / "frames", "train", "xanten", 0, range(30), size_px=(256, 128))
    assert load_frames(bench().index().split("train"), data).shape == (10, *size, 3)


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


@pytest.fixture
def stopping(monkeypatch):
    """Trainings that hear TERM in their first step."""

    @contextlib.contextmanager
    def patched():
        flag, advance = StopFlag(), autoencoder_fit.Fit.advance

        def then_stop(self, frames):
            flag.reason = "SIGTERM"
            return advance(self, frames)

        with monkeypatch.context() as patch:
            patch.setattr(StopFlag, "install", lambda self: flag)
            patch.setattr(autoencoder_fit.Fit, "advance", then_stop)
            yield

    return patched


def test_a_stopped_training_goes_on_to_the_same_weights(training, tmp_path, stopping):
    run(training(output=str(tmp_path / "through")))
    bench = training(output=str(tmp_path / "stopped"))
    with stopping():
        result = run(bench)
    assert (result.complete, result.summary) == (False, "autoencoder: stopped by SIGTERM at step 1")
    assert not (tmp_path / "stopped").exists()
    assert run(bench).complete
    weights = [(tmp_path / name / AUTOENCODER_WEIGHTS).read_bytes() for name in ("through", "stopped")]
    assert weights[0] == weights[1]


def test_what_its_frames_were_tells_an_autoencoder_from_another(training, tree, tmp_path):
    frames = shutil.copytree(tree, tmp_path / "frames")
    bench = training(data={"root": str(frames)})
    run(bench)
    assert "nothing to do" in run(training()).summary  # the same files elsewhere
    with pytest.raises(UserError, match=r"of another recipe: data.resize is lanczos there, area here; choose"):
        run(training(data={"resize": "area"}))
    write_sequence(frames, "train", "xanten", 9, range(30))
    with pytest.raises(UserError, match=r"of another recipe: its frames are other files; choose"):
        run(bench)
    shutil.rmtree(frames)
    assert "nothing to do" in run(bench).summary


def test_a_stopped_training_does_not_go_on_with_other_frames(training, tree, tmp_path, stopping):
    frames = shutil.copytree(tree, tmp_path / "frames")
    bench = training(data={"root": str(frames)})
    with stopping():
        assert not run(bench).complete
    (state,) = bench.paths.run.glob("autoencoder-*.safetensors")
    write_sequence(frames, "train", "xanten", 9, range(30))
    kept = state.read_bytes()
    with stopping():
        assert run(bench).summary == "autoencoder: stopped by SIGTERM at step 1"
    assert len(list(bench.paths.run.glob("autoencoder-*.safetensors"))) == 2
    assert state.read_bytes() == kept


def test_the_demos_autoencoder_is_the_one_of_its_run(tmp_path):
    config = strict.load(RunConfig, HOME / "configs/run/streets-autoencoder.yaml")
    partition = Partition(name="local", executor="local", root=str(tmp_path))
    assert autoencoder.run(config, partition).summary == "autoencoder: nothing to do, 29.27 dB on held-out frames"


def test_a_record_that_does_not_say_how_frames_were_prepared_is_refused(training, tmp_path):
    bench = training()
    run(bench)
    path = tmp_path / "out" / "training.json"
    record = json.loads(path.read_text())
    del record["recipe"]["data"]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="whose record does not say how its frames were prepared"):
        run(bench)


def test_a_kill_right_after_the_end_leaves_no_state_for_long(training, monkeypatch):
    bench, publish = training(), autoencoder._publish

    def then_die(*arguments):
        publish(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(autoencoder, "_publish", then_die)
    with pytest.raises(KeyboardInterrupt):
        run(bench)
    assert list(bench.paths.run.glob("autoencoder-*"))
    assert "nothing to do" in run(bench).summary
    assert not list(bench.paths.run.glob("autoencoder-*"))


@pytest.mark.parametrize("place", ["state", "weights"])
def test_a_full_disk_is_one_line(training, tmp_path, place):
    bench = training()
    folder = {"state": bench.paths.run, "weights": tmp_path / "out"}[place]
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        with pytest.raises(UserError, match=rf"^the disk is full: cannot write {folder}/.*$"):
            run(bench)
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", folder], check=True)
    assert run(bench).complete


def test_without_a_section_there_is_nothing_to_train(bench):
    with pytest.raises(UserError, match="no section autoencoder_training"):
        run(bench())
