"""Configuration files and overrides: what is accepted, and what each mistake is told."""

import pytest

from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return write


def complaint(path, *overrides):
    with pytest.raises(UserError) as caught:
        strict.load(RunConfig, path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001", "+1e-4"])
def test_every_way_to_write_a_small_number_is_a_number(write, text):
    assert strict.load(RunConfig, write(f"optim:\n  lr: {text}\n")).optim.lr == 1e-4
    assert strict.load(RunConfig, write(""), [f"optim.lr={text}"]).optim.lr == 1e-4


def test_precedence_is_default_then_file_then_override(write):
    path = write("optim:\n  lr: 3e-4\n  beta1: 0.8\n")
    config = strict.load(RunConfig, path, ["optim.lr=5e-4"])
    assert (config.optim.lr, config.optim.beta1, config.optim.beta2) == (5e-4, 0.8, 0.99)


def test_lists_and_null_can_be_overridden(write):
    config = strict.load(RunConfig, write(""), ["sample.tasks=[prediction]", "optim.grad_clip_norm=null"])
    assert config.sample.tasks == ("prediction",)
    assert config.optim.grad_clip_norm is None


def test_an_unknown_field_is_told_the_nearest_name_and_the_line(write):
    path = write("name: x\noptim:\n  warmupclips: 3\n")
    assert complaint(path) == f"{path}:3: unknown field optim.warmupclips; did you mean warmup_clips?"


def test_an_unknown_section_is_told_the_nearest_name(write):
    assert "did you mean optim?" in complaint(write("optm:\n  lr: 1\n"))


def test_an_unknown_field_of_an_optional_section_is_told_too(write):
    assert "did you mean num_train_clips?" in complaint(write("streets:\n  num_train_clip: 1\n"))


def test_a_wrong_type_names_field_value_and_expected_type(write):
    path = write("train:\n  total_clips: many\n")
    assert complaint(path) == f"{path}:2: train.total_clips is 'many' (text); expected integer"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.total_clips=1.5", "train.total_clips is 1.5 (number); expected integer"),
        ("train.total_clips=true", "train.total_clips is True (true/false); expected integer"),
        ("train.precision=fp8", "expected 'fp32', 'tf32', 'bf16' or 'fp64'"),
        ("optim.lr=-1", "greater than 0"),
        ("optim.lr=.nan", "expected"),
        ("optim=3", "optim is 3"),
        ("name=latents", "choose another"),
        ("name=../escape", "name is '../escape'"),
        ("data.dataset=/tmp/elsewhere", "data.dataset is '/tmp/elsewhere'"),
        ("data.dataset=../../elsewhere", "data.dataset is '../../elsewhere'"),
        ("data.frame_height_px=100", "multiple of 16"),
        ("sample.tasks=[]", "at least one task"),
        ("model.num_frames=31", "larger than data.frames_per_clip"),
    ],
)
def test_values_that_cannot_be(write, override, words):
    said = complaint(write(""), override)
    assert words in said
    assert "override" in said or "run.yaml" in said


@pytest.mark.parametrize("override", ["optim.lr", "=3", "optim..lr=3", "op tim=3", "name.x=3"])
def test_overrides_that_cannot_be_read(write, override):
    assert "override" in complaint(write("name: x\n"), override)


def test_all_mistakes_are_told_at_once(write):
    said = complaint(write("seed: x\ntrain:\n  total_clips: y\n"))
    assert "seed is 'x'" in said
    assert "total_clips is 'y'" in said


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "name: x\nname: y\n", "\tname: x"])
def test_files_that_are_no_configuration(write, text):
    assert "run.yaml" in complaint(write(text))


def test_a_missing_file(tmp_path):
    assert "No such file" in complaint(tmp_path / "run.yaml")


def test_configurations_are_frozen(write):
    config = strict.load(RunConfig, write(""))
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
