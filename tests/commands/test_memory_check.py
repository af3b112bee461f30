"""The look before the start says whether a step fits into a GPU."""

import pytest

from vdt_hpc.commandline import load_run
from vdt_hpc.commands import preflight
from vdt_hpc.commands.checks import place
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import paths_for

MISSION = load_run("cityscapes")
LEAN = {"activation_checkpointing": True}


def profile(gpu_memory_gb, **fields):
    return Partition(name="big", cpus_per_task=1, gpus_per_node=5, gpu_memory_gb=gpu_memory_gb, **fields)


@pytest.mark.parametrize(
    ("gpu_memory_gb", "limit", "fields", "level", "words"),
    [
        (80.0, 13, {}, "ok", "a step takes about 52 GB of each GPU for 8 clip(s) at once, 17.2 GB of it"),
        (48.0, 6, {}, "ok", "a GPU has 48 GB"),
        (48.0, 16, {}, "warning", "set max_clips_per_gpu: 6 in profile big, or activation_checkpointing: true"),
        (48.0, 16, LEAN, "ok", "for 16 clip(s) at once with activation checkpointing"),
        (20.0, 1, {}, "warning", "not even one clip may fit; set activation_checkpointing: true in profile big"),
        (16.0, 1, LEAN, "warning", "not even one clip may fit"),
    ],
)
def test_what_fits_into_a_gpu(gpu_memory_gb, limit, fields, level, words):
    (finding,) = place.check_memory(MISSION, profile(gpu_memory_gb, max_clips_per_gpu=limit, **fields))
    assert (finding.level, words in finding.message) == (level, True), finding


def test_nothing_is_said_where_nothing_is_known():
    assert not list(place.check_memory(MISSION, profile(None)))
    assert not list(place.check_memory(MISSION, Partition(name="here", executor="local", gpu_memory_gb=1.0)))


def test_a_launch_looks_at_it(tmp_path):
    here = Partition(
        name="here", executor="local", gpus_per_node=1, gpu_memory_gb=24.0, max_clips_per_gpu=8, root=str(tmp_path)
    )
    found = {each.subject: each for each in preflight.check(["train"], MISSION, [here], paths_for(MISSION, here))}
    assert found["here: memory"].level == "warning"
