import numpy as np
import pytest
import torch

from vdt_hpc.model import masks


def test_one_means_generate_and_zero_means_given():
    assert masks.prediction(5, 2).tolist() == [0, 0, 1, 1, 1]
    assert masks.unconditional(3).tolist() == [1, 1, 1]
    assert masks.for_task("prediction", 4, 1).tolist() == [0, 1, 1, 1]
    assert masks.for_task("unconditional", 2, 0).tolist() == [1, 1]


@pytest.mark.parametrize("given_frames", [0, 5, 6])
def test_prediction_needs_something_given_and_something_to_generate(given_frames):
    with pytest.raises(AssertionError):
        masks.prediction(5, given_frames)


@pytest.mark.parametrize("mask", [[0.0, 0.0], [0.5, 1.0], [-1.0, 1.0]])
def test_other_masks_are_refused(mask):
    with pytest.raises(AssertionError):
        masks.checked(np.array(mask, np.float32))


def test_unconditional_generation_is_given_nothing():
    with pytest.raises(AssertionError):
        masks.for_task("unconditional", 5, 1)


def test_mix_takes_each_value_from_one_side_exactly():
    given, generated = torch.randn(2, 4, 3, 2, 2), torch.full((2, 4, 3, 2, 2), float("nan"))
    generated[0, 2:] = 7
    generated[1] = 8
    mixed = masks.mix(given, generated, masks.batch([masks.prediction(4, 2), masks.unconditional(4)]))
    assert torch.equal(mixed[0, :2], given[0, :2])
    assert (mixed[0, 2:] == 7).all()
    assert (mixed[1] == 8).all()


def test_masks_may_vary_over_space():
    mask = np.ones((4, 1, 2, 2), np.float32)
    mask[1, 0, 0, 1] = 0
    stacked = masks.batch([masks.checked(mask)])
    assert stacked.shape == (1, 4, 1, 2, 2)
    mixed = masks.mix(torch.zeros(1, 4, 3, 2, 2), torch.ones(1, 4, 3, 2, 2), stacked)
    assert mixed.sum() == 4 * 3 * 2 * 2 - 3
