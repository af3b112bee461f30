"""The validation loss: the averaged weights on fixed (clip, mask, time, noise), comparable across moments and runs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from jobs.examples import Drawer, Example, prepare
from jobs.moments import Moments
from jobs.tally import Tally
from jobs.trainer import Trainer, denoising_losses
from vdt_hpc.dist import ProcessGroup
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.model.arithmetic import autocast

DRAWS_PER_CLIP = 4
"""Fixed (mask, time, noise) drawn for each validation clip; times are spread evenly over all draws."""


class Validation:
    """Measures the denoising loss of a trainer's average.

    Args:
        config: the run.
        moments: the validation clips; there may be none.
        group: the ranks, which share the examples out.
        trainer: whose average is measured.
        stop: asked after every batch.
    """

    def __init__(
        self, config: RunConfig, moments: Moments, group: ProcessGroup, trainer: Trainer, stop: Callable[[], bool]
    ) -> None:
        self._config, self._moments, self._group = config, moments, group
        self._trainer, self._stop = trainer, stop
        self.num_examples = DRAWS_PER_CLIP * len(moments)
        if not moments and group.task.rank == 0:
            print("no validation clips: no validation loss is measured", flush=True)
        self.last_loss: float | None = None
        """What was measured last."""

    @torch.no_grad()
    def measure(self) -> dict[str, Any] | None:
        """Means over all examples, the same on every rank; None if a stop came to any. Every rank must call it."""
        group = self._group
        drawer = Drawer(self._config, len(self._moments), 1, self._moments.clip_frames)
        own = [drawer.validation(index, self.num_examples) for index in group.task.share(self.num_examples)]
        tally = Tally.zero(group.device)
        averaged = Averaged(self._trainer)
        # Every rank takes as many rounds as the one with the most examples, so that all meet after each.
        most = -(-self.num_examples // group.task.world_size)
        size = group.min(self._trainer.max_batch_clips)
        for start in range(0, most, size):
            batch = own[start : start + size]
            if batch:
                self._add(tally, averaged, batch)
            if group.any(self._stop()):
                return None
        group.sum(tally.sums)
        means = {f"val_{name}": value for name, value in tally.means().items()}
        self.last_loss = means["val_loss"]
        return {**means, "num_examples": tally.num_clips()}

    def _add(self, tally: Tally, averaged: "Averaged", drawn: list[Example]) -> None:
        batch = prepare(self._config, self._moments, drawn)
        with autocast(self._config, self._group.device):
            losses = denoising_losses(averaged, self._trainer.objective, batch, self._group.device)
        tally.add(losses, [example.task for example in batch.examples])


class Averaged(torch.nn.Module):
    """The trainer's model with the averaged weights in place of its own."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self._model = trainer.model
        self._weights = trainer.ema.state_dict()

    def forward(self, x: Tensor, times: Tensor, mask: Tensor) -> Tensor:
        """As the model's forward."""
        out: Tensor = functional_call(self._model, self._weights, (x, times, mask))
        return out
