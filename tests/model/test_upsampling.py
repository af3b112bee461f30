"""Doubling and convolution at once, against diffusers' own."""

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.upsampling import Upsample2D

from vdt_hpc.model.upsampling import DoublingConv, fold_doublings


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_doubled_images_convolution(memory_format, bias):
    torch.manual_seed(0)
    plain = Upsample2D(5, use_conv=True, out_channels=3, bias=bias).double().requires_grad_(False)
    images = torch.randn(2, 5, 4, 7, dtype=torch.float64).contiguous(memory_format=memory_format)
    at_once = DoublingConv(plain.conv)(images)
    assert at_once.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(at_once, plain(images), rtol=0, atol=1e-13)


def test_a_whole_decoder_means_the_same():
    torch.manual_seed(0)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 16), norm_num_groups=4,
    ).double().eval().requires_grad_(False)  # fmt: skip
    latents = torch.randn(2, 4, 4, 4, dtype=torch.float64)
    before = model.decode(latents).sample
    fold_doublings(model)
    kinds = [type(module) for module in model.modules()]
    assert (kinds.count(DoublingConv), kinds.count(Upsample2D)) == (2, 0)
    assert torch.allclose(model.decode(latents).sample, before, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{"use_conv": False}, {"use_conv_transpose": True}, {"use_conv": True, "kernel_size": 1, "padding": 0},
                {"use_conv": True, "norm_type": "rms_norm", "eps": 1e-6, "elementwise_affine": True},
                {"use_conv": True, "interpolate": False}],
)  # fmt: skip
def test_other_upsamplings_stay(options):
    model = torch.nn.Sequential(Upsample2D(4, **options))
    fold_doublings(model)
    assert isinstance(model[0], Upsample2D)
