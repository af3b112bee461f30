"""Sizes of the model by name."""

import pytest
import yaml

from vdt_hpc.commandline import load_run
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.model_config import PRESETS, ModelConfig
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.size import num_parameters


@pytest.mark.parametrize(
    ("run", "preset", "count"),
    [
        ("cityscapes", "VDT-L/2", 859_704_224),
        ("cityscapes-small", "VDT-S/2", 41_361_056),
        ("cityscapes-lab", "VDT-L/2", 859_704_224),
        ("streets", "VDT-Ti/2", None),
        ("film", "VDT-Ti/2", None),
    ],
)
def test_the_runs_name_their_size(run, preset, count):
    config = load_run(run)
    assert config.model.preset == preset
    assert {name: getattr(config.model, name) for name in PRESETS[preset]} == PRESETS[preset]
    assert count in (None, num_parameters(config))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_name_is_its_four_numbers(preset):
    sizes = [f"model.{name}={value}" for name, value in PRESETS[preset].items()]
    spelled_out, named = load_run("smoke", sizes), load_run("smoke", [*sizes, f"model.preset={preset}"])
    assert signature(named) == signature(spelled_out)
    assert ModelConfig(preset=preset).model_copy(update={"preset": None}) == ModelConfig(**PRESETS[preset])


def test_a_size_beside_a_name_must_agree():
    assert load_run("streets", ["model.width=128"]) == load_run("streets")
    with pytest.raises(UserError) as caught:
        load_run("streets", ["model.depth=6"])
    said = str(caught.value)
    assert "\n" not in said
    assert "depth is 6, but preset VDT-Ti/2 has 4" in said
    assert "set preset to null and give width, depth, num_heads, patch_size" in said


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(UserError, match=r"model.preset is 'VDT-XXL/2' .*VDT-L/2"):
        load_run("streets", ["model.preset=VDT-XXL/2"])


def test_another_name_replaces_the_first():
    assert load_run("cityscapes", ["model.preset=VDT-B/2"]).model.width == 768


def test_what_is_written_down_is_read_back(tmp_path):
    config = load_run("streets")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert strict.load(RunConfig, path) == config
    assert signature(strict.load(RunConfig, path, ["model.preset=null"])) == signature(config)
