"""Tables of places and frames at other sizes, against what they must be in closed form."""

import pytest
import torch

from vdt_hpc.errors import UserError
from vdt_hpc.model import vdt
from vdt_hpc.model.resizing import resize_frames, resize_places


def grid_of(function, side):
    """A table (1, N, 2): a function of the row's and of the column's centre, both in [0, 1]."""
    centre = (torch.arange(side) + 0.5) / side
    row, column = torch.meshgrid(centre, centre, indexing="ij")
    return torch.stack([function(row), function(column)], dim=-1).reshape(1, side**2, 2)


@pytest.mark.parametrize(("side", "new_side"), [(16, 8), (24, 8), (8, 16), (6, 9)])
def test_a_constant_stays_and_a_ramp_is_its_values_at_the_centres(side, new_side):
    constant = torch.full((1, side**2, 3), 0.7)
    torch.testing.assert_close(resize_places(constant, new_side**2), torch.full((1, new_side**2, 3), 0.7))
    resized = resize_places(grid_of(lambda place: 2 * place - 0.3, side), new_side**2).view(new_side, new_side, 2)
    expected = grid_of(lambda place: 2 * place - 0.3, new_side).view(new_side, new_side, 2)
    border = 3 if new_side > side else 2
    inner = slice(border, new_side - border)
    torch.testing.assert_close(resized[inner, inner], expected[inner, inner], rtol=0, atol=1e-5)


@pytest.mark.parametrize("new_side", [4, 8, 12])
def test_places_are_resized_alike_from_all_four_sides(new_side):
    table = torch.randn(1, 64, 3, generator=torch.Generator().manual_seed(0))
    resized = resize_places(table, new_side**2).view(new_side, new_side, 3)
    mirrored = table.view(8, 8, 3).flip(0, 1).reshape(1, 64, 3)
    torch.testing.assert_close(resize_places(mirrored, new_side**2).view_as(resized), resized.flip(0, 1))
    turned = table.view(8, 8, 3).transpose(0, 1).reshape(1, 64, 3)
    torch.testing.assert_close(resize_places(turned, new_side**2).view_as(resized), resized.transpose(0, 1))
    if new_side == 8:
        torch.testing.assert_close(resized.view_as(table), table)


def test_a_shrinking_grid_is_antialiased():
    stripes = torch.tensor([1.0, -1.0]).repeat(128).view(1, 256, 1)  # the finest pattern that 16 x 16 cells hold
    assert resize_places(stripes, 64).view(8, 8)[1:-1, 1:-1].abs().max() < 0.05


def test_grids_that_are_not_square():
    with pytest.raises(ValueError, match="no two square grids"):
        resize_places(torch.zeros(1, 8, 2), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_sinusoid_is_continued(dtype):
    published = vdt.frame_table(16, 32).to(dtype)
    longer = resize_frames(published, 30, "continue")
    assert torch.equal(longer[:, :16], published.float())
    assert torch.equal(longer[:, 16:], vdt.frame_table(30, 32)[:, 16:])
    assert torch.equal(resize_frames(published, 7, "continue"), published[:, :7])


def test_another_table_is_not_continued_but_stretched():
    table = vdt.frame_table(16, 32) + 0.001
    with pytest.raises(UserError, match=r"no sinusoid.*set init.frames=stretch, or model.num_frames=16"):
        resize_frames(table, 30, "continue")
    assert torch.equal(resize_frames(table, 9, "continue"), table[:, :9])


@pytest.mark.parametrize(("old", "new"), [(16, 30), (16, 9), (16, 16), (1, 4)])
def test_stretching_is_linear_from_end_to_end(old, new):
    table = torch.stack([torch.linspace(-1, 3, old), torch.full((old,), 0.2)], dim=1)[None]
    stretched = resize_frames(table, new, "stretch")
    ramp = torch.linspace(-1, 3, new) if old > 1 else torch.full((new,), -1.0)
    torch.testing.assert_close(stretched, torch.stack([ramp, torch.full((new,), 0.2)], dim=1)[None])
    if old == new:
        assert torch.equal(stretched, table)
