"""Model, optimizer and average of a run, and one update of them: gradients first, then the step that all agreed to.

Legend: B clips, T frames, C latent channels, h x w latent cells.
"""

import contextlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from jobs.examples import Batch
from jobs.tally import Tally
from vdt_hpc.dist import ProcessGroup
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import BatchPlan
from vdt_hpc.model import masks, vdt
from vdt_hpc.model.ema import Ema
from vdt_hpc.model.objective import Diffusion, Losses

MOMENTS = ("exp_avg", "exp_avg_sq")


class Trainer:
    """The state that a checkpoint holds, on this rank's device.

    Args:
        config: the run.
        plan: how a global batch is spread.
        group: the ranks; weights start the same on all of them, from the run's seed.
    """

    def __init__(self, config: RunConfig, plan: BatchPlan, group: ProcessGroup) -> None:
        self._config, self._plan, self._group = config, plan, group
        self.model = vdt.build(config, config.seed).to(group.device)
        self.ema = Ema(self.model)
        self.diffusion = Diffusion(config.diffusion, group.device)
        self._parallel: torch.nn.Module = self.model
        if group.task.world_size > 1:
            self._parallel = DistributedDataParallel(self.model, broadcast_buffers=False, gradient_as_bucket_view=True)
        optim = config.optim
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=optim.lr, betas=(optim.beta1, optim.beta2),
            weight_decay=optim.weight_decay, fused=True,
        )  # fmt: skip

    def gradients(self, batches: Sequence[Batch]) -> tuple[Tally, Tensor]:
        """Gradients of the mean loss over the global batch, clipped; every rank must call it.

        Args:
            batches: this rank's micro-batches of the update.

        Returns:
            The losses of this rank's clips, and the norm of the gradients before clipping (the same on every rank).
        """
        self._optimizer.zero_grad(set_to_none=True)
        tally = Tally.zero(self._group.device)
        # DDP takes the mean over ranks of each rank's sum; shares may be uneven, so the mean over clips is put here.
        weight = self._group.task.world_size / self._plan.global_clips
        for number, batch in enumerate(batches, 1):
            with contextlib.ExitStack() as stack:
                if number < len(batches) and isinstance(self._parallel, DistributedDataParallel):
                    stack.enter_context(self._parallel.no_sync())
                with autocast(self._config, self._group.device):
                    losses = denoising_losses(self._parallel, self.diffusion, batch, self._group.device)
                (losses.total.sum() * weight).backward()
            tally.add(losses, [example.task for example in batch.examples])
        limit = self._config.optim.grad_clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), float("inf") if limit is None else limit)
        return tally, norm

    def update(self, lr: float, ema_decay: float) -> None:
        """Apply the gradients to the weights, and the weights to the average."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self.ema.update(ema_decay)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Everything that a checkpoint holds; the tensors are the live ones."""
        return {
            "model": dict(self.model.state_dict()),
            "ema": self.ema.state_dict(),
            "optimizer": self._optimizer_state(),
        }

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over the state of a checkpoint; the keys must be this model's."""
        self.model.load_state_dict(dict(state["model"]))
        self.ema.load_state_dict(state["ema"])
        for name, parameter in self.model.named_parameters():
            moments = {key: state["optimizer"][f"{name}.{key}"].to(parameter.device, copy=True) for key in MOMENTS}
            step = state["optimizer"][f"{name}.step"].to(parameter.device, copy=True)
            self._optimizer.state[parameter] = {"step": step, **moments}

    def _optimizer_state(self) -> dict[str, Tensor]:
        """AdamW's state by parameter name; zeros where no update has been applied yet."""
        flat: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            state = self._optimizer.state.get(parameter, {})
            flat[f"{name}.step"] = state.get("step", torch.zeros((), device=parameter.device))
            for key in MOMENTS:
                flat[f"{name}.{key}"] = state.get(key, torch.zeros_like(parameter))
        return flat


def denoising_losses(model: torch.nn.Module, diffusion: Diffusion, batch: Batch, device: torch.device) -> Losses:
    """Loss of each clip of a batch: noise the latents, put the given frames in, ask the model."""
    clean, noise = (torch.from_numpy(array).to(device, non_blocking=True) for array in (batch.clean, batch.noise))
    times = torch.from_numpy(batch.times).to(device, non_blocking=True)
    mask = masks.batch(batch.masks).to(device, non_blocking=True)
    noisy = diffusion.noisy(clean, noise, times)
    output = model(masks.mix(clean, noisy, mask), times)
    with torch.autocast(device.type, enabled=False):
        return diffusion.losses(output.float(), clean, noisy, noise, times, mask)


def autocast(config: RunConfig, device: torch.device) -> torch.autocast:
    """The run's arithmetic for forward passes."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.train.precision == "bf16")
