"""From the CPU's memory to a device, without waiting for it."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device. To a GPU it travels from pinned memory while this process goes on: from other
    memory the driver would have to copy it first, and on some systems waits for all that the GPU has to do.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
