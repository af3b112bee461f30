"""AlexNet's convolutions with random weights, in place of those that LPIPS is published with."""

import torch
import torchvision


def alexnet():
    """Tensors under torchvision's names; always the same."""
    torch.manual_seed(0)
    network = torchvision.models.alexnet(weights=None).features
    return {f"features.{name}": tensor.clone() for name, tensor in network.state_dict().items()}
