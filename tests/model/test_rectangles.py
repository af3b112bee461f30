import numpy as np
import pytest

from vdt_hpc.model import rectangles
from vdt_hpc.model.noise import stream


def covered(count, cells):
    return np.stack([rectangles.half(stream(0, 4, place), cells) for place in range(count)])


@pytest.mark.parametrize(
    ("cells", "least"), [((16, 16), 0.49), ((16, 32), 0.49), ((8, 8), 0.47), ((4, 4), 0.4), ((2, 2), 0.25)]
)
def test_half_of_the_cells_and_never_more(cells, least):
    share = covered(1000, cells).mean((1, 2))
    assert share.min() > 0
    assert share.max() <= 0.5
    assert least <= share.mean() <= 0.5


def test_the_smallest_latents_have_something_covered():
    assert set(covered(100, (2, 1)).sum((1, 2))) == {1}
    with pytest.raises(AssertionError):
        rectangles.half(stream(0, 4, 0), (1, 1))


def test_every_cell_is_covered_about_as_often_as_its_mirror_images():
    often = covered(4000, (8, 8)).mean(0)
    for image in (often[::-1], often[:, ::-1], often.T):
        assert often == pytest.approx(image, abs=0.05)
    assert often.min() > 0.1  # corners are under fewer rectangles


def test_what_is_covered_is_made_of_blocks():
    """Neighbours agree far more often than the 50 % of cells that are drawn one by one."""
    blocks = covered(500, (16, 16))
    assert np.mean(blocks[:, 1:] == blocks[:, :-1]) > 0.85
    assert np.mean(blocks[:, :, 1:] == blocks[:, :, :-1]) > 0.85
