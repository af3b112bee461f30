"""The validation loss: the averaged weights on fixed (clip, mask, time, noise), comparable across moments and runs."""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from jobs.examples import Drawer, prepare
from jobs.moments import Moments
from jobs.tally import Tally
from jobs.trainer import Trainer, autocast, denoising_losses
from vdt_hpc.dist import ProcessGroup
from vdt_hpc.experiment.config import RunConfig

DRAWS_PER_CLIP = 4
"""Fixed (mask, time, noise) drawn for each validation clip; times are spread evenly over all draws."""


class Validation:
    """Measures the denoising loss of a trainer's average.

    Args:
        config: the run.
        moments: the validation clips; there may be none.
        group: the ranks, which share the examples out.
        batch_clips: clips that pass the model at once.
    """

    def __init__(self, config: RunConfig, moments: Moments, group: ProcessGroup, batch_clips: int) -> None:
        self._config, self._moments, self._group, self._batch_clips = config, moments, group, batch_clips
        self.num_examples = DRAWS_PER_CLIP * len(moments)

    @torch.no_grad()
    def measure(self, trainer: Trainer) -> dict[str, Any]:
        """Means over all examples, on every rank; every rank must call it."""
        drawer = Drawer(self._config, len(self._moments), 1, self._moments.clip_frames)
        own = [drawer.validation(index, self.num_examples) for index in self._group.task.share(self.num_examples)]
        tally = Tally.zero(self._group.device)
        average = _Averaged(trainer)
        for start in range(0, len(own), self._batch_clips):
            batch = prepare(self._config, self._moments, own[start : start + self._batch_clips])
            with autocast(self._config, self._group.device):
                losses = denoising_losses(average, trainer.diffusion, batch, self._group.device)
            tally.add(losses, [example.task for example in batch.examples])
        self._group.sum(tally.sums)
        means = {f"val_{name}": value for name, value in tally.means().items()}
        return {**means, "num_examples": tally.num_clips()}


class _Averaged(torch.nn.Module):
    """The trainer's model with the averaged weights in place of its own."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self._trainer = trainer
        self._weights = trainer.ema.state_dict()

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """As the model's forward."""
        out: Tensor = functional_call(self._trainer.model, self._weights, (x, times))
        return out
