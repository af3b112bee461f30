"""The moving average of the weights, as a function of clips seen."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vdt_hpc.experiment.config import OptimConfig


def decay(config: OptimConfig, clips_seen: int, clips_in_update: int) -> float:
    """Share of the old average that is kept in one update, in [0, 1).

    Args:
        clips_seen: clips after the update.
        clips_in_update: clips of the update.

    The half-life is the smaller of `ema_halflife_clips` and `ema_rampup_fraction` x clips seen (the power-function
    argument of arXiv 2312.02696, section 3.1: a short run needs a short memory).
    """
    halflife = min(float(config.ema_halflife_clips), config.ema_rampup_fraction * clips_seen)
    return 0.5 ** (clips_in_update / halflife) if halflife > 0 else 0.0


class Ema:
    """The average of a model's parameters, fp32, on the same device; its state dict has the model's keys.

    Args:
        model: the model that is followed; the average starts as a copy of it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._current = dict(model.named_parameters())
        self._average = {name: weight.detach().clone() for name, weight in self._current.items()}

    @torch.no_grad()
    def update(self, kept: float) -> None:
        """Move the average towards the current weights, keeping the share `kept` of it."""
        torch._foreach_lerp_(list(self._average.values()), list(self._current.values()), 1 - kept)

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors of the averaged model: averages for parameters, the model's own for its fixed tables."""
        return {name: self._average.get(name, tensor) for name, tensor in self._model.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over an average; the keys must be the model's."""
        if state.keys() != self._model.state_dict().keys():
            raise ValueError("the average has other keys than the model")
        for name, average in self._average.items():
            average.copy_(state[name])
