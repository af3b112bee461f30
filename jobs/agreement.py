"""What the ranks tell each other with every update, in one sum."""

from typing import NamedTuple

import torch
from torch import Tensor

from jobs.tally import Tally
from jobs.transfer import to_device
from vdt_hpc.dist import ProcessGroup


class Signs(NamedTuple):
    """What one rank says; after `agree`, how many ranks say so."""

    signalled: int
    """A signal asked for a stop."""
    time_is_up: int
    save_due: int
    hopeless: int
    """This rank cannot go on, and has a line for the user that says why."""
    lease_lost: int
    written: int
    """This rank's share of the checkpoint at hand is on the disk."""
    failed: int
    """This rank's share, or the publication, failed."""


class Agreed(NamedTuple):
    """What all ranks know after `agree`; it lies on the CPU."""

    signs: Signs
    """How many ranks say each sign."""
    all_finite: bool
    """The numbers of all ranks are finite."""
    tally: Tally
    """The losses of all clips."""
    norm: float
    """Norm of the gradients."""


def agree(group: ProcessGroup, signs: Signs, tally: Tally, norm: Tensor) -> Agreed:
    """Add up the signs and losses of all ranks; every rank must call it, and gets the same.

    This is the one moment of an update at which a process waits for its device.

    Args:
        group: the ranks.
        signs: of this rank.
        tally: the losses of this rank's clips, on the device.
        norm: of the gradients, on the device; the same on every rank.
    """
    own = to_device(torch.tensor(signs, dtype=torch.float64), group.device)
    is_bad = ~(tally.sums.isfinite().all() & norm.isfinite())
    summed = group.sum(torch.cat([own, is_bad.double()[None], tally.sums]))
    told = torch.cat([summed, norm.double()[None]]).cpu()
    counts = [round(value) for value in told[: len(signs)].tolist()]
    return Agreed(Signs(*counts), not told[len(signs)] > 0, Tally(told[len(signs) + 1 : -1]), float(told[-1]))
