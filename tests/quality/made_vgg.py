"""VGG-16's convolutions with random weights, in place of those that LPIPS is published with."""

import torch
from torchvision.models import vgg


def vgg16():
    """Tensors under torchvision's names; always the same."""
    torch.manual_seed(0)
    network = vgg.make_layers(vgg.cfgs["D"])
    return {f"features.{name}": tensor.clone() for name, tensor in network.state_dict().items()}
