"""Sums of losses over clips: added up on each rank, summed over ranks, turned into means at the end."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from jobs.transfer import to_device
from vdt_hpc.experiment.tasks_config import TASKS, TaskName
from vdt_hpc.model.objective import Losses

SIZE = 3 + 2 * len(TASKS)


class Tally:
    """Sums of (loss, mse, vb), then the loss and the number of clips of each task, float64.

    Args:
        sums: (SIZE,); zeros where a count begins.
    """

    def __init__(self, sums: Tensor) -> None:
        self.sums = sums

    @classmethod
    def zero(cls, device: torch.device) -> "Tally":
        """An empty count."""
        return cls(torch.zeros(SIZE, dtype=torch.float64, device=device))

    def add(self, losses: Losses, tasks: Sequence[TaskName]) -> None:
        """Count the clips of a batch, without waiting for the device."""
        total, mse, vb = (values.detach().double() for values in (losses.total, losses.mse, losses.vb))
        members = torch.tensor([[task == name for name in TASKS] for task in tasks], dtype=torch.float64)
        members = to_device(members, total.device)
        self.sums += torch.cat([torch.stack([total.sum(), mse.sum(), vb.sum()]), total @ members, members.sum(0)])

    def merge(self, other: "Tally") -> None:
        """Count another tally's clips too."""
        self.sums += other.sums

    def num_clips(self) -> int:
        """Clips counted."""
        return round(float(self.sums[3 + len(TASKS) :].sum()))

    def means(self) -> dict[str, Any]:
        """Means over clips, as the log writes them; NaN where there is no clip."""
        values = self.sums.tolist()
        by_task, counts = values[3 : 3 + len(TASKS)], values[3 + len(TASKS) :]
        mean = [_ratio(value, sum(counts)) for value in values[:3]]
        tasks = {name: _ratio(loss, count) for name, loss, count in zip(TASKS, by_task, counts, strict=True) if count}
        return {"loss": mean[0], "loss_by_task": tasks, "mse": mean[1], "vb": mean[2]}


def _ratio(total: float, count: float) -> float:
    return total / count if count else float("nan")
