"""What the ranks tell each other with every update, in one sum."""

from typing import NamedTuple

import torch
from torch import Tensor

from jobs.tally import Tally
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


def agree(group: ProcessGroup, signs: Signs, finite: Tensor, tally: Tally) -> tuple[Signs, bool, Tally]:
    """Add up the signs and losses of all ranks; every rank must call it, and gets the same.

    Args:
        group: the ranks.
        signs: of this rank.
        finite: () bool, on the device: this rank's losses and gradients are finite.
        tally: the losses of this rank's clips.

    Returns:
        Ranks that say each sign, whether all ranks' numbers are finite, and the losses of all clips, on the CPU.
    """
    own = torch.tensor(signs, dtype=torch.float64).to(group.device)
    total = group.sum(torch.cat([own, (~finite).double()[None], tally.sums])).cpu()
    counts = [round(value) for value in total[: len(signs)].tolist()]
    return Signs(*counts), not total[len(signs)] > 0, Tally(total[len(signs) + 1 :])
