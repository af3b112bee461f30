"""The count of operations, beside what torch counts while the model runs and the numbers known for VDT."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vdt_hpc.commandline import load_run
from vdt_hpc.model import vdt
from vdt_hpc.model.flops import forward_flops

HOME = Path(__file__).parents[2]


def counted(config, num_clips):
    """Operations per clip that torch sees in a forward pass on the CPU, where attention is two matrix products."""
    model, channels, side = vdt.build(config, 0), config.autoencoder.latent_channels, config.latent_height
    x = torch.zeros(num_clips, config.model.num_frames, channels, side, side)
    with FlopCounterMode(display=False) as counter:
        model(x, torch.zeros(num_clips))
    return counter.get_total_flops() / num_clips


@pytest.mark.parametrize("changes", [{}, {"depth": 3}, {"width": 48, "num_heads": 3}, {"patch_size": 1}])
def test_it_counts_what_the_model_computes(changes):
    smoke = load_run("smoke")
    config = smoke.model_copy(update={"model": smoke.model.model_copy(update=changes)})
    for num_clips in (1, 2):
        assert forward_flops(config) == counted(config, num_clips)


@pytest.mark.parametrize(("run", "expected"), [("cityscapes-small", 118.9e9), ("cityscapes", 2450e9)])
def test_the_known_sizes(run, expected):
    """VDT-S/2 and VDT-L/2 on 30 frames of 16 x 16 latents."""
    assert forward_flops(load_run(run)) == pytest.approx(expected, rel=0.001)


def test_counting_needs_no_torch():
    code = "import sys, vdt_hpc.model.flops; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=HOME, check=True)
