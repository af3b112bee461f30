"""Quality over the index of the frame: what each clip measured, put together frame by frame."""

import numpy as np
import pytest
from PIL import Image

from results import by_frame, by_frame_figure
from results.notes import Notes
from vdt_hpc import pictures
from vdt_hpc.quality.distortion import mse_by_frame, ssim_by_frame
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.store.samples import SampleSet

GIVEN = 2


@pytest.fixture
def measured(made_up):
    info = made_up.write_samples(made_up.samples)
    made_up.evaluate(metrics=("psnr", "ssim", "psnr:best", "fvd"), protocols=("lab2024",))
    made_up.set = SampleSet.open(made_up.paths.samples / info.name)
    return made_up


def test_each_frame_is_over_all_clips_and_trajectories(measured):
    found = by_frame.load(measured.set, [], Notes())
    assert list(found.curves) == ["psnr", "ssim"]  # of FVD there is no frame, and the lab's numbers are no quality
    assert set(found.curves["psnr"]) == {"model", "copy-last-frame", "autoencoder", "real-against-real"}
    pairs = [(Pixels(true), Pixels(one)) for true, several in zip(measured.frames, measured.samples, strict=True)
             for one in several]  # fmt: skip
    mse = np.mean([mse_by_frame(*pair)[GIVEN:] for pair in pairs], axis=0)
    ssim = np.mean([ssim_by_frame(*pair)[GIVEN:] for pair in pairs], axis=0)
    assert np.allclose(found.curves["psnr"]["model"], 10 * np.log10(255**2 / mse), rtol=1e-12)
    assert np.allclose(found.curves["ssim"]["model"], ssim, rtol=1e-12)


def test_a_frame_that_is_always_the_truth_is_a_gap(made_up):
    samples = made_up.samples.copy()
    samples[:, :, 5] = made_up.frames[:, None, 5]
    info = made_up.write_samples(samples)
    made_up.evaluate(metrics=("psnr",))
    curve = by_frame.load(SampleSet.open(made_up.paths.samples / info.name), [], Notes()).curves["psnr"]["model"]
    assert np.isnan(curve).tolist() == [index + GIVEN == 5 for index in range(10)]


def test_rows_beside_the_model_come_from_the_set_that_they_were_measured_with(made_up):
    first = made_up.write_samples(made_up.samples)
    second = made_up.write_samples(255 - made_up.samples, made_up.info(num_trajectories=2, num_steps=20))
    other = made_up.write_samples(
        made_up.samples[:, :, :8], made_up.info(num_trajectories=2, num_frames=8, num_steps=9)
    )
    made_up.evaluate(metrics=("psnr",))
    sets = [SampleSet.open(made_up.paths.samples / info.name) for info in (first, second, other)]
    curves = [by_frame.load(one, sets, Notes()).curves["psnr"] for one in sets]
    assert all(set(found) == {"model", "copy-last-frame", "autoencoder", "real-against-real"} for found in curves)
    assert np.array_equal(curves[0]["autoencoder"], curves[1]["autoencoder"])
    assert not np.array_equal(curves[0]["model"], curves[1]["model"])
    assert len(curves[2]["autoencoder"]) == 8 - GIVEN


def test_a_set_that_was_not_measured_has_none(made_up):
    info = made_up.write_samples(made_up.samples)
    assert by_frame.load(SampleSet.open(made_up.paths.samples / info.name), [], Notes()) is None


def test_the_picture_and_the_page_show_it(measured, tmp_path):
    pictures.save(by_frame_figure.draw(by_frame.load(measured.set, [], Notes())), tmp_path / "frames", ("png",))
    with Image.open(tmp_path / "frames.png") as image:
        assert min(image.size) > 400
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    measured.report()
    assert "PSNR and SSIM at each generated frame, over 4 clips and 2 trajectories" in measured.paths.page.read_text()
    assert (measured.paths.figures / "frames-prediction-ddim-50.pdf").exists()
