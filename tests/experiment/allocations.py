"""Memory of tensors, counted while real code runs: what a step of training holds at most, and what autograd keeps.

The steps run on tensors without numbers (torch's FakeTensorMode), so a model of any size is counted in seconds, with
the fused attention that GPUs use.
"""

import contextlib
import weakref

import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vdt_hpc.experiment import architecture
from vdt_hpc.experiment.memory import state_bytes
from vdt_hpc.model import arithmetic, blocks, objective, vdt

CPU = torch.device("cpu")


class Allocations(TorchDispatchMode):
    """Counts the bytes of storages that come and go; those of `owned` are there already and do not count."""

    def __init__(self, owned):
        super().__init__()
        self._owned = [tensor.untyped_storage() for tensor in owned]
        self._alive = {storage._cdata for storage in self._owned}
        self.now = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage):
        if storage._cdata in self._alive:
            return
        self._alive.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, identity, num_bytes):
        self._alive.discard(identity)
        self.now -= num_bytes


@contextlib.contextmanager
def fused_attention():
    """The CPU takes the kernel that a GPU takes, which keeps other things."""
    before, blocks.attend = blocks.attend, blocks.fused_attention
    try:
        yield
    finally:
        blocks.attend = before


def inputs(config, num_clips):
    shape = (num_clips, config.model.num_frames, config.autoencoder.latent_channels, *[config.latent_height] * 2)
    x = torch.zeros(shape, dtype=arithmetic.working_dtype(config))
    return x, torch.zeros(num_clips, dtype=torch.long), torch.ones(*shape[:2], 1, 1, 1, dtype=x.dtype)


def peak_of_step(config, num_clips, checkpointing):
    """Largest memory of tensors during a step: state, and what comes and goes in the forward and backward pass."""
    with FakeTensorMode(), fused_attention():
        model = vdt.VDT(**architecture.arguments(config))
        model.checkpointing = checkpointing
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight)
        diffusion, (x, times, mask) = objective.build(config.diffusion), inputs(config, num_clips)
        gradients = [weight.grad for weight in model.parameters()]
        with Allocations([*model.parameters(), *model.buffers(), *gradients]) as counted:
            with arithmetic.autocast(config, CPU):
                output = model(x, times, mask)
            diffusion.losses(output.to(x.dtype), x, x, x, times, mask).total.sum().backward()
    return state_bytes(config) + counted.peak


def kept_by_forward(config, num_clips):
    """Bytes of the distinct storages that autograd keeps of a forward pass, but for the weights themselves."""
    with fused_attention():
        model = vdt.build(config, 0).to(arithmetic.working_dtype(config))
        own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        kept = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), arithmetic.autocast(config, CPU):
            model(*inputs(config, num_clips))
    return sum(storage.nbytes() for storage in kept.values())
