"""Which frames a mask gives."""

import numpy as np

from vdt_hpc.model.masks import GIVEN


def given_frames(mask):
    """Indices of the frames of a (T,) or (T, 1, h, w) mask that are wholly given."""
    return tuple(np.flatnonzero((mask == GIVEN).reshape(len(mask), -1).all(axis=1)).tolist())
