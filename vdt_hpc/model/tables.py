"""The fixed tables of the model: where a token lies, and which frame it is of."""

import torch
from torch import Tensor

PERIOD = 10_000.0


def frame_table(num_frames: int, width: int) -> Tensor:
    """Sinusoidal table of the frame's number, (1, T, D): [sin | cos]."""
    return _sinusoids(torch.arange(num_frames, dtype=torch.float64), width)[None].float()


def position_table(side: int, width: int) -> Tensor:
    """Sinusoidal table of a token's place, (1, N, D): first half from its column, second half from its row."""
    place = torch.arange(side, dtype=torch.float64)
    row, column = torch.meshgrid(place, place, indexing="ij")
    halves = [_sinusoids(axis.flatten(), width // 2) for axis in (column, row)]
    return torch.cat(halves, dim=-1)[None].float()


def _sinusoids(values: Tensor, width: int) -> Tensor:
    """(L,) -> (L, width): [sin | cos] at periods 2 pi to 2 pi x 10,000 (arXiv 1706.03762, section 3.5)."""
    exponents = torch.arange(width // 2, dtype=torch.float64) / (width / 2)
    angles = values[:, None] * PERIOD**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
