"""The autoencoder's ceiling is what measuring its reconstructions by hand gives; its summary fits into JSON."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from preprocess.ceiling import Ceiling, summary
from tests.quality.made_alexnet import alexnet
from vdt_hpc.model import autoencoder as autoencoders
from vdt_hpc.quality.perception import open_lpips
from vdt_hpc.quality.pixels import Pixels

CPU = torch.device("cpu")
NUM_FRAMES = 5


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The folder of pretrained weights, empty."""
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def made(bench, tiny_autoencoder, weights):
    """Makes (configuration, autoencoder) for frames of some size."""

    def make(**data):
        section = {"source": str(tiny_autoencoder), "frames_per_batch": 2}
        config = bench(data=data, autoencoder=section, model={"patch_size": 1}).config
        return config, autoencoders.load(config.autoencoder, CPU)

    return make


def frames(height_px=32, width_px=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (NUM_FRAMES, height_px, width_px, 3), dtype=np.uint8)


def reconstructed(autoencoder, pixels):
    mean, _ = autoencoders.encode(autoencoder, pixels, NUM_FRAMES)
    with torch.inference_mode():
        images = autoencoder.model.decode(mean.half().float()).sample
    return mean.numpy(), autoencoders.to_bytes(images)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_it_is_what_measuring_by_hand_gives(made, weights, dtype):
    save_file(alexnet(), weights / "alexnet-owt-7be5be79.safetensors")
    config, autoencoder = made()
    pixels = frames()
    mean, decoded = reconstructed(autoencoder, pixels)
    ceiling = Ceiling(autoencoder, config)
    values = ceiling.measure(pixels, mean.astype(dtype))
    assert ceiling.missing is None
    assert list(values) == ["psnr_db", "ssim", "lpips"]
    assert all(array.shape == (NUM_FRAMES,) and array.dtype == np.float32 for array in values.values())
    pairs = list(zip(pixels, decoded, strict=True))
    assert values["psnr_db"] == pytest.approx([peak_signal_noise_ratio(*pair) for pair in pairs], rel=1e-6)
    by_hand = [
        structural_similarity(*pair, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for pair in pairs
    ]
    assert values["ssim"] == pytest.approx(by_hand, abs=1e-6)
    assert values["lpips"] == pytest.approx(open_lpips(CPU)(Pixels(pixels), Pixels(decoded)), rel=1e-5)


def test_frames_that_are_no_squares(made):
    config, autoencoder = made(frame_height_px=32, frame_width_px=64, crop="whole")
    pixels = frames(32, 64)
    mean, decoded = reconstructed(autoencoder, pixels)
    values = Ceiling(autoencoder, config).measure(pixels, mean)
    expected = [peak_signal_noise_ratio(*pair) for pair in zip(pixels, decoded, strict=True)]
    assert values["psnr_db"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("size_px", "measured", "missing"),
    [
        (32, {"psnr_db", "ssim"}, "no LPIPS: AlexNet weights not found: put alexnet-owt-7be5be79.pth into"),
        (16, {"psnr_db", "ssim"}, "no LPIPS: frames of 16 px are smaller than the 31 px that it needs"),
        (8, {"psnr_db"}, "no SSIM: frames of 8 px are smaller than its window of 11 px; no LPIPS: frames of 8 px"),
    ],
)
def test_what_cannot_be_measured_is_left_out_and_told(made, size_px, measured, missing):
    config, autoencoder = made(frame_height_px=size_px)
    pixels = frames(size_px, size_px)
    ceiling = Ceiling(autoencoder, config)
    assert set(ceiling.measure(pixels, reconstructed(autoencoder, pixels)[0])) == measured
    assert ceiling.missing.startswith(missing) and "\n" not in ceiling.missing


def test_no_more_frames_than_asked_are_decoded_at_once(made):
    config, autoencoder = made()
    pixels = frames()
    mean, _ = reconstructed(autoencoder, pixels)
    sizes = []
    autoencoder.model.post_quant_conv.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    Ceiling(autoencoder, config).measure(pixels, mean)
    assert sizes == [2, 2, 1]


def test_pixels_and_latents_of_two_clips_are_refused(made):
    config, autoencoder = made()
    mean, _ = reconstructed(autoencoder, frames())
    with pytest.raises(ValueError, match="cannot be compared"):
        Ceiling(autoencoder, config).measure(frames()[:3], mean)


def test_an_identical_frame_is_infinite_in_its_shard_and_counted_in_the_summary(made, monkeypatch):
    config, autoencoder = made()
    pixels = frames()
    mean, decoded = reconstructed(autoencoder, pixels)
    decoded[2] = pixels[2]
    monkeypatch.setattr(autoencoders, "decode", lambda *_: decoded)
    values = Ceiling(autoencoder, config).measure(pixels, mean)
    assert np.isposinf(values["psnr_db"]).tolist() == [False, False, True, False, False]
    assert values["ssim"][2] == 1
    means = summary([{name: array[None] for name, array in values.items()}])
    assert means["num_identical_frames"] == 1
    assert means["psnr_db"] == pytest.approx(np.delete(values["psnr_db"], 2).mean(), rel=1e-6)
    assert means["ssim"] == pytest.approx(values["ssim"].mean(), rel=1e-6)  # counts all
    json.dumps(means, allow_nan=False)


def test_the_summary_is_the_mean_over_all_frames_of_shards_of_any_size():
    generator = np.random.default_rng(0)
    shards = [
        {name: generator.uniform(0, 40, (num_clips, 3)).astype(np.float32) for name in ("psnr_db", "ssim", "lpips")}
        for num_clips in (4, 1)
    ]
    means = summary(iter(shards))
    for name in ("psnr_db", "ssim", "lpips"):
        everything = np.concatenate([shard[name].ravel() for shard in shards]).astype(np.float64)
        assert means[name] == pytest.approx(math.fsum(everything) / 15, rel=1e-12)
    assert means["num_identical_frames"] == 0


def test_the_summary_has_no_number_where_a_shard_has_none():
    values = np.ones((2, 3), np.float32)
    one, other = {"psnr_db": values, "ssim": values, "lpips": values}, {"psnr_db": values * 3, "ssim": values}
    assert summary([one, other]) == {"psnr_db": 2.0, "ssim": 1.0, "lpips": None, "num_identical_frames": 0}
    nothing = {"psnr_db": None, "ssim": None, "lpips": None}
    assert summary([{}, {}]) == summary([]) == nothing | {"num_identical_frames": 0}
    perfect = {"psnr_db": np.full((2, 3), np.inf, np.float32)}
    assert summary([perfect]) == nothing | {"num_identical_frames": 6}
