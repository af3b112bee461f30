"""Model, optimizer and average of a run, and one update of them: gradients first, then the step that all agreed to.

Legend: B clips, T frames, C latent channels, h x w latent cells.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jobs.examples import Batch
from jobs.gradients import GradientSum
from jobs.memory import is_out_of_memory
from jobs.tally import Tally
from jobs.transfer import to_device
from vdt_hpc.dist import ProcessGroup
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import BatchPlan
from vdt_hpc.model import masks, objective, vdt
from vdt_hpc.model.arithmetic import autocast, working_dtype
from vdt_hpc.model.ema import Ema
from vdt_hpc.model.objective import Losses, Objective

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
        self.model = vdt.build(config, config.seed).to(group.device, working_dtype(config))
        self.ema = Ema(self.model)
        self.objective = objective.build(config.diffusion, group.device)
        self.max_batch_clips = max(plan.micro_batches[group.task.rank])
        """Clips that pass the model at once; halved where they do not fit into memory."""
        self.fault = ""
        """Why this rank's gradients are not to be used and it cannot go on: one line for the user."""
        parameters = list(self.model.parameters())
        self._gradients = GradientSum(parameters, group)
        optim = config.optim
        self._optimizer = torch.optim.AdamW(
            parameters, lr=optim.lr, betas=(optim.beta1, optim.beta2), weight_decay=optim.weight_decay, fused=True
        )
        for parameter in parameters:  # from the first moment on, so that a checkpoint always has the same tensors
            moments = {key: torch.zeros_like(parameter) for key in MOMENTS}
            self._optimizer.state[parameter] = {"step": torch.zeros((), device=group.device), **moments}

    def gradients(self, batches: Sequence[Batch]) -> tuple[Tally, Tensor]:
        """Gradients of the mean loss over the global batch, clipped; every rank must call it.

        A rank whose memory does not hold a micro-batch halves it and takes twice as many, from then on.

        Args:
            batches: this rank's micro-batches of the update.

        Returns:
            The losses of this rank's clips, and the norm of the gradients before clipping (the same on every rank).
            Where not even one clip fits into memory, `fault` says so, for the ranks to agree on: one that left alone
            would let the others wait.
        """
        while (tally := self._accumulated(batches)) is None:
            if self.max_batch_clips == 1:
                self.fault = (
                    f"out of memory on task {self._group.task.rank} with a single clip; use a partition with more "
                    "memory per task, or a smaller model"
                )
                tally = Tally.zero(self._group.device)
                break
            self._halve()
        self._gradients.finish()
        return tally, self._gradients.clip(self._config.optim.grad_clip_norm)

    def _accumulated(self, batches: Sequence[Batch]) -> Tally | None:
        """Add up the gradients of this rank's clips; None if memory did not suffice."""
        pieces = [piece for batch in batches for piece in batch.split(self.max_batch_clips)]
        tally = Tally.zero(self._group.device)
        self._gradients.begin()
        try:
            for number, piece in enumerate(pieces, 1):
                if number == len(pieces):
                    self._gradients.last_pass()
                with autocast(self._config, self._group.device):
                    losses = denoising_losses(self.model, self.objective, piece, self._group.device)
                (losses.total.sum() / self._plan.global_clips).backward()
                tally.add(losses, [example.task for example in piece.examples])
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return None  # the traceback, which holds the failed pass's tensors, ends here
            raise
        return tally

    def _halve(self) -> None:
        tried, self.max_batch_clips = self.max_batch_clips, -(-self.max_batch_clips // 2)
        if self._group.device.type == "cuda":
            torch.cuda.empty_cache()
        print(
            f"out of memory on task {self._group.task.rank} with {tried} clips at once: going on with "
            f"{self.max_batch_clips} at once and more accumulation; set max_clips_per_gpu: "
            f"{self.max_batch_clips} in the partition's file",
            flush=True,
        )

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

    @torch.no_grad()
    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over the state of a checkpoint, in place; the keys must be this model's."""
        self.model.load_state_dict(dict(state["model"]))
        self.ema.load_state_dict(state["ema"])
        for name, tensor in self._optimizer_state().items():
            tensor.copy_(state["optimizer"][name])

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Take over initial weights, of which the average then is a copy; the keys must be this model's."""
        self.model.load_state_dict(dict(weights))
        self.ema.load_state_dict(self.model.state_dict())

    def _optimizer_state(self) -> dict[str, Tensor]:
        """AdamW's state by parameter name."""
        return {
            f"{name}.{key}": self._optimizer.state[parameter][key]
            for name, parameter in self.model.named_parameters()
            for key in ("step", *MOMENTS)
        }


def denoising_losses(model: torch.nn.Module, goal: Objective, batch: Batch, device: torch.device) -> Losses:
    """Loss of each clip of a batch: noise the latents, put the given frames in, ask the model."""
    dtype = next(model.parameters()).dtype
    clean, noise = (to_device(torch.from_numpy(array), device).to(dtype) for array in (batch.clean, batch.noise))
    times = to_device(torch.from_numpy(batch.times), device)
    mask = to_device(masks.batch(batch.masks), device).to(dtype)
    noisy = goal.noisy(clean, noise, times)
    output = model(masks.mix(clean, noisy, mask), times, mask)
    with torch.autocast(device.type, enabled=False):
        return goal.losses(output.to(dtype), clean, noisy, noise, times, mask)
