"""The predicted memory of a step, beside what is counted while the real model runs, and what follows from it."""

import pytest

from tests.experiment import allocations
from vdt_hpc.commandline import load_partition, load_run
from vdt_hpc.experiment import memory
from vdt_hpc.launch import main

SMALL = ["model.preset=null", "model.patch_size=2", "data.frame_height_px=64"]


def small(width, depth, num_heads, num_frames, precision, *more):
    sizes = {"width": width, "depth": depth, "num_heads": num_heads, "num_frames": num_frames}
    changes = [f"model.{name}={value}" for name, value in sizes.items()]
    return load_run(
        "cityscapes", [*SMALL, *changes, "tasks.prefix_max_frames=2", f"train.precision={precision}", *more]
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize(("sizes", "num_clips"), [((128, 1, 4, 8), 2), ((128, 3, 2, 5), 1), ((192, 2, 3, 4), 3)])
def test_what_a_forward_pass_keeps(sizes, num_clips, precision):
    config = small(*sizes, precision)
    kept = allocations.kept_by_forward(config, num_clips)
    assert memory.kept_bytes(config, num_clips) == pytest.approx(kept, rel=0.05)


@pytest.mark.parametrize("changes", ["model.mask_channel=true", "model.frame_times=true", "diffusion.variance=fixed"])
def test_options_that_cost_next_to_nothing(changes):
    config = small(128, 2, 4, 8, "bf16", changes)
    assert memory.kept_bytes(config, 2) == pytest.approx(allocations.kept_by_forward(config, 2), rel=0.05)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("run", "num_clips"), [("cityscapes-small", 1), ("cityscapes", 8)])
def test_the_peak_of_a_step(run, num_clips, checkpointing, precision):
    config = load_run(run, [f"train.precision={precision}"])
    counted = allocations.peak_of_step(config, num_clips, checkpointing)
    assert memory.step_bytes(config, num_clips, checkpointing) == pytest.approx(counted, rel=0.03)


def test_the_profiles_hold_what_fits_of_the_mission():
    mission = load_run("cityscapes")
    for name in ("a100", "a40"):
        profile = load_partition(name)
        fits = memory.largest_micro_batch(mission, profile.gpu_memory_gb, profile.activation_checkpointing)
        assert profile.max_clips_per_gpu == fits
        for num_clips, is_enough in ((fits, True), (fits + 1, False)):
            free = 1 - memory.step_bytes(mission, num_clips) / (profile.gpu_memory_gb * 1e9)
            assert (free >= memory.FREE) == is_enough


def test_where_not_one_clip_fits():
    mission = load_run("cityscapes")
    assert memory.largest_micro_batch(mission, 20) == 0
    assert memory.largest_micro_batch(mission, 24, checkpointing=True) > 0


def test_a_dry_run_tells_it(capsys):
    assert main(["--partition", "a100", "--dry-run"]) == 0
    assert (
        "memory       about 52 GB of each GPU for 8 clip(s) at once, 17.2 GB of it weights" in capsys.readouterr().out
    )
    assert main(["--partition", "local", "--run", "smoke", "--dry-run"]) == 0
    assert "memory " not in capsys.readouterr().out
