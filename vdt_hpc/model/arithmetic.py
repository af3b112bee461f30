"""In which numbers a run computes: the type of its weights, autocast, and how exact products on GPUs are."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from vdt_hpc.experiment.config import RunConfig


def working_dtype(config: RunConfig) -> torch.dtype:
    """Type of weights, optimizer and average."""
    return torch.float64 if config.train.precision == "fp64" else torch.float32


def autocast(config: RunConfig, device: torch.device) -> torch.autocast:
    """The run's arithmetic for forward passes."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.train.precision == "bf16")


def keep_for_products(model: nn.Module, config: RunConfig) -> None:
    """Bring the weights of products into their type, once, in a model that is not trained.

    Autocast would do it at every call, to the same numbers: it remembers only weights that take gradients.
    """
    if config.train.precision == "bf16":
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(torch.bfloat16)


@contextlib.contextmanager
def products(config: RunConfig, device: torch.device) -> Iterator[None]:
    """While a run works on a GPU, products of fp32 numbers are taken in TF32 with `tf32`, and those that `bf16` leaves.

    With `fp32` and `fp64`, and on a CPU, nothing is changed. The settings are the process's own, so they are put back.
    """
    if device.type != "cuda" or config.train.precision not in ("tf32", "bf16"):
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
