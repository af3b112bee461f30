"""The ready configurations, signatures, and the batch plan that follows from a run and a partition."""

from pathlib import Path

import pytest

from vdt_hpc.commandline import load_partition, load_run
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import BatchConfig, RunConfig
from vdt_hpc.experiment.partition import Partition, even_parts, plan_batch
from vdt_hpc.experiment.section import Section
from vdt_hpc.experiment.signature import latents_signature, signature
from vdt_hpc.launch import main

CONFIGS = Path(__file__).parents[2] / "configs"
RUNS = sorted(path.stem for path in (CONFIGS / "run").glob("*.yaml"))
PARTITIONS = sorted(path.stem for path in (CONFIGS / "partition").glob("*.yaml"))


def test_the_promised_configurations_are_there():
    assert {"cityscapes", "cityscapes-lab", "cityscapes-small", "streets", "smoke"} <= set(RUNS)
    assert {"a100", "a40", "local"} <= set(PARTITIONS)


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("run", RUNS)
def test_every_run_dry_runs_on_every_partition(run, partition, capsys):
    assert main(["--run", run, "--partition", partition, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert f"signature {signature(load_run(run))}" in printed
    assert ("#SBATCH" in printed) == (partition != "local")


def every_field(section, prefix=""):
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}", field
        if isinstance(field.default, Section):
            yield from every_field(type(field.default), f"{prefix}{name}.")


def test_every_field_is_documented():
    bare = {
        name
        for model in (RunConfig, Partition)
        for name, field in every_field(model)
        if field.description is None and not isinstance(field.default, Section)
    }
    assert bare == set()


@pytest.mark.parametrize(
    ("override", "same_run", "same_latents"),
    [
        ("name=other", True, True),
        ("data.root=/elsewhere", True, True),
        ("train.checkpoint_every_min=1", True, True),
        ("sample.num_steps=10", True, True),
        ("evaluate.protocol=other", True, True),
        ("seed=1", False, True),
        ("optim.lr=1e-3", False, True),
        ("train.total_clips=99", False, True),
        ("autoencoder.source=elsewhere", False, False),
        ("data.frame_height_px=256", False, False),
    ],
)
def test_what_the_signatures_see(override, same_run, same_latents):
    plain, changed = load_run("cityscapes"), load_run("cityscapes", [override])
    assert (signature(plain) == signature(changed)) == same_run
    assert (latents_signature(plain) == latents_signature(changed)) == same_latents


def partition(world_size, limit):
    return Partition(name="p", executor="local", tasks_per_node=world_size, max_clips_per_gpu=limit)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("limit", [1, 2, 5, 16])
@pytest.mark.parametrize("global_clips", [7, 24, 80])
def test_the_fixed_batch_is_spread_whole(world_size, limit, global_clips):
    plan = plan_batch(BatchConfig(global_clips=global_clips), partition(world_size, limit))
    shares = [plan.share(rank) for rank in range(world_size)]
    assert [clip for share in shares for clip in share] == list(range(global_clips))
    for rank, sizes in enumerate(plan.micro_batches):
        assert sum(sizes) == len(shares[rank]) > 0
        assert max(sizes) <= limit
        assert max(sizes) - min(sizes) <= 1
    assert plan.lr_scale == 1


def test_the_mission_on_both_partitions():
    batch = load_run("cityscapes").batch
    on_a100, on_a40 = (plan_batch(batch, load_partition(name)) for name in ("a100", "a40"))
    assert on_a100.micro_batches == ((8, 8),) * 5
    assert on_a40.micro_batches == ((5, 5, 5, 5),) * 4
    assert on_a100.global_clips == on_a40.global_clips == 80


def test_the_labs_batch_shrinks_with_the_partition_and_the_rate_follows():
    plan = plan_batch(load_run("cityscapes-lab").batch, partition(4, 6))
    assert plan.global_clips == 24
    assert plan.lr_scale == pytest.approx(24 / 80)


def test_more_tasks_than_clips_is_said():
    with pytest.raises(UserError, match="less than the 3 tasks"):
        plan_batch(BatchConfig(global_clips=2), partition(3, 1))


def test_even_parts():
    assert even_parts(10, 4) == (3, 3, 2, 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "p"},
        {"name": "p", "executor": "local", "num_nodes": 2},
        {"name": "p", "cpus_per_task": 1, "gpus_per_node": 2, "tasks_per_node": 1},
        {"name": "p", "cpus_per_task": 1, "timeout_min": 1, "save_margin_s": 60},
        {"name": "../p", "executor": "local"},
    ],
)
def test_partitions_that_cannot_be(fields):
    with pytest.raises(ValueError, match=r"cpus_per_task|one node|must equal|longer|pattern"):
        Partition(**fields)


def test_the_readme_tells_what_the_profiles_hold():
    readme = (CONFIGS.parent / "README.md").read_text()
    for name in ("a100", "a40"):
        profile = load_partition(name)
        row = (
            f"| {name} | {profile.gpus_per_node} GPUs of {profile.gpu_memory_gb:g} GB, at most "
            f"{profile.max_clips_per_gpu} clips at once on each |\n"
        )
        assert row in readme
