"""Crop and resize: each filter against the library that defines it."""

import numpy as np
import pytest
import torch
from PIL import Image

from preprocess.geometry import prepare
from vdt_hpc.experiment.data_config import DataConfig

FRAME = np.random.default_rng(0).integers(0, 256, (96, 200, 3), np.uint8)
FILTERS = ("lanczos", "bilinear", "area")


@pytest.mark.parametrize("side_px", [16, 31, 96, 128])
@pytest.mark.parametrize("turned", [False, True], ids=["wide", "tall"])
def test_the_centre_square_then_pillows_lanczos(turned, side_px):
    square = FRAME[:, 52:148]
    frame, square = (each.swapaxes(0, 1) if turned else each for each in (FRAME, square))
    expected = Image.fromarray(np.ascontiguousarray(square)).resize((side_px, side_px), Image.Resampling.LANCZOS)
    assert np.array_equal(prepare(frame, DataConfig(frame_height_px=side_px)), np.asarray(expected))


def test_lanczos_of_the_whole_frame_is_pillows():
    prepared = prepare(FRAME, DataConfig(crop="whole", frame_height_px=24, frame_width_px=40))
    expected = Image.fromarray(FRAME).resize((40, 24), Image.Resampling.LANCZOS)
    assert np.array_equal(prepared, np.asarray(expected))


@pytest.mark.parametrize("size_px", [(12, 25), (24, 24), (31, 47), (96, 100), (130, 333), (1, 1)])
def test_bilinear_is_torchs_without_antialiasing(size_px):
    height_px, width_px = size_px
    data = DataConfig(crop="whole", resize="bilinear", frame_height_px=height_px, frame_width_px=width_px)
    channels_first = torch.from_numpy(FRAME).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(channels_first, size_px, mode="bilinear", align_corners=False)
    difference = prepare(FRAME, data) - expected[0].permute(1, 2, 0).numpy()
    assert abs(difference).max() < 0.51  # half a level by rounding


def test_bilinear_rounds_half_to_even():
    frame = np.repeat(np.array([[[0], [1]], [[0], [1]]], np.uint8), 3, axis=2)
    assert prepare(frame, DataConfig(resize="bilinear", frame_height_px=1)).tolist() == [[[0, 0, 0]]]
    assert prepare(frame + 1, DataConfig(resize="bilinear", frame_height_px=1)).tolist() == [[[2, 2, 2]]]


def test_bilinear_sees_four_pixels_alone():
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[3:5, 3:5] = 100
    prepared = prepare(frame, DataConfig(resize="bilinear", frame_height_px=8))
    assert prepared[0, 0, 0] == 100
    assert prepared.astype(int).sum() == 300


def test_area_is_the_mean_of_the_pixels_below():
    data = DataConfig(crop="whole", resize="area", frame_height_px=24, frame_width_px=50)
    means = FRAME.reshape(24, 4, 50, 4, 3).mean((1, 3))
    assert abs(prepare(FRAME, data) - means).max() <= 1  # rounded after each axis


@pytest.mark.parametrize("resize", FILTERS)
def test_the_right_size_is_not_filtered(resize):
    whole = DataConfig(crop="whole", resize=resize, frame_height_px=96, frame_width_px=200)
    assert np.array_equal(prepare(FRAME, whole), FRAME)
    square = prepare(FRAME, DataConfig(resize=resize, frame_height_px=96))
    assert np.array_equal(square, FRAME[:, 52:148])
    assert square.flags.c_contiguous


@pytest.mark.parametrize("resize", FILTERS)
def test_every_filter_gives_bytes_of_the_size_asked_for(resize):
    prepared = prepare(FRAME, DataConfig(crop="whole", resize=resize, frame_height_px=30, frame_width_px=20))
    assert prepared.shape == (30, 20, 3)
    assert prepared.dtype == np.uint8
    flat = np.full((96, 200, 3), 77, np.uint8)
    assert (prepare(flat, DataConfig(resize=resize, frame_height_px=20)) == 77).all()


@pytest.mark.parametrize("wrong", [FRAME.astype(np.float32), FRAME[..., 0], FRAME[..., :2]])
def test_other_arrays_are_refused(wrong):
    with pytest.raises(ValueError, match="uint8"):
        prepare(wrong, DataConfig())
