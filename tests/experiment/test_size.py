"""Sizes from the configuration, beside what torch counts, what the trainer holds and the numbers known for VDT."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from jobs.trainer import Trainer
from tests.jobs import made_up
from vdt_hpc.commandline import load_run
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.experiment.partition import plan_batch
from vdt_hpc.experiment.size import checkpoint_bytes, forward_flops, latents_bytes, num_parameters
from vdt_hpc.model import vdt

HOME = Path(__file__).parents[2]


def counted(config, num_clips):
    """Operations that torch sees in a forward pass on the CPU, where attention is two matrix products."""
    model, channels, side = vdt.build(config, 0), config.autoencoder.latent_channels, config.latent_height
    x = torch.zeros(num_clips, config.model.num_frames, channels, side, side)
    with FlopCounterMode(display=False) as counter:
        model(x, torch.zeros(num_clips), torch.ones(num_clips, config.model.num_frames, 1, 1, 1))
    return counter.get_total_flops()


CHANGES = [
    [], ["model.depth=3"], ["model.width=48", "model.num_heads=3"], ["model.patch_size=1"], ["model.mask_channel=true"],
    ["model.frame_times=true", "model.depth=2"], ["model.qk_norm=true"], ["model.zero_temporal=true"],
    ["diffusion.variance=fixed"], ["model.mask_channel=true", "model.qk_norm=true", "diffusion.variance=fixed"],
]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=" ".join)
def test_it_counts_what_the_model_computes(changes):
    config = load_run("smoke", changes)
    one, two = counted(config, 1), counted(config, 2)
    assert forward_flops(config) == two - one
    assert (one == two - one) == (not config.model.frame_times)  # those share a row of time 0


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_weights_and_checkpoints_are_as_large_as_the_trainers(tmp_path, precision):
    config = made_up.config(train__precision=precision, model__depth=2, model__qk_norm=precision == "bf16")
    plan = plan_batch(config.batch, made_up.partition(tmp_path))
    trainer = Trainer(config, plan, ProcessGroup(Task(), tmp_path))
    assert num_parameters(config) == sum(each.numel() for each in trainer.model.parameters() if each.requires_grad)
    tensors = [tensor for part in trainer.state().values() for name, tensor in part.items() if tensor.ndim]
    assert checkpoint_bytes(config) == sum(tensor.nbytes for tensor in tensors)  # but for AdamW's counts of steps


@pytest.mark.parametrize("changes", CHANGES, ids=" ".join)
def test_the_number_of_parameters_follows_the_model(changes):
    config = load_run("smoke", changes)
    assert num_parameters(config) == sum(each.numel() for each in vdt.build(config).parameters())


def test_a_shard_is_hardly_larger_than_its_clips(tmp_path):
    config = made_up.config()
    paths = made_up.write_latents(config, made_up.partition(tmp_path))
    for split, count in made_up.COUNTS.items():
        (shard,) = paths.latents.glob(f"{split}-*.h5")
        assert 0 <= shard.stat().st_size - count * latents_bytes(config, split) < 30_000  # what HDF5 itself takes


@pytest.mark.parametrize(("run", "expected"), [("cityscapes-small", 118.9e9), ("cityscapes", 2450e9)])
def test_the_known_sizes(run, expected):
    """VDT-S/2 and VDT-L/2 on 30 frames of 16 x 16 latents."""
    assert forward_flops(load_run(run)) == pytest.approx(expected, rel=0.001)


def test_counting_needs_no_torch():
    code = "import sys, vdt_hpc.experiment.size; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=HOME, check=True)
