"""The fixed tables of places and frames of published weights, brought to another size.

Legend: N tokens per frame, T frames, D width.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from vdt_hpc.errors import UserError
from vdt_hpc.model.tables import frame_table

SINUSOID_TOLERANCE = 1e-4
"""Of a table in fp32; a table in half precision is as near as its type allows."""


def resize_places(table: Tensor, num_tokens: int) -> Tensor:
    """A table of places, (1, N, D), on a square grid of another number of tokens.

    Bicubic (Keys' kernel, a = -0.5) with aligned centres: cell i of n lies at (i + 0.5) / n of the side, so a picture
    that is cut into fewer tokens keeps its places. Where the grid shrinks, the kernel widens with it (antialias).

    Raises:
        ValueError: one of the two grids is not square.
    """
    side, new_side = math.isqrt(table.shape[1]), math.isqrt(num_tokens)
    if side**2 != table.shape[1] or new_side**2 != num_tokens:
        raise ValueError(f"{table.shape[1]} and {num_tokens} tokens are no two square grids")
    grid = table.float().transpose(1, 2).unflatten(2, (side, side))
    # With antialias the kernel is Keys' also where the grid grows; without it torch takes a = -0.75, which bends ramps.
    resized = functional.interpolate(grid, size=(new_side, new_side), mode="bicubic", antialias=True)
    return resized.flatten(2).transpose(1, 2)


def resize_frames(table: Tensor, num_frames: int, how: Literal["continue", "stretch"]) -> Tensor:
    """A table of frames, (1, T, D), for another number of frames.

    Args:
        table: as published.
        num_frames: frames of the model.
        how: `continue`: frame i keeps its row, further frames go on along the sinusoid. `stretch`: first and last row
            stay at the ends, and those between are interpolated linearly.

    Raises:
        UserError: `continue` beyond the end of a table that is not the sinusoid.
    """
    old = table.shape[1]
    if how == "stretch":
        at = torch.linspace(0, old - 1, num_frames, dtype=torch.float64)
        before = at.floor().long()
        after, share = (before + 1).clamp(max=old - 1), (at - before)[:, None]
        rows = table[0].double()
        return torch.lerp(rows[before], rows[after], share)[None].float()
    if num_frames <= old:
        return table[:, :num_frames]
    longer = frame_table(num_frames, table.shape[2])
    tolerance = max(SINUSOID_TOLERANCE, torch.finfo(table.dtype).eps)
    if not torch.allclose(table.float(), longer[:, :old], rtol=0, atol=tolerance):
        raise UserError(
            f"the file's table of {old} frames is no sinusoid, so it cannot be continued to {num_frames}; set "
            f"init.frames=stretch, or model.num_frames={old}"
        )
    return torch.cat([table.float(), longer[:, old:]], dim=1)
