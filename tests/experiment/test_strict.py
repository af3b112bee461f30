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
        ("name=latents", "override 'name=latents': name: 'latents' is the name of a folder beside the runs; choose"),
        ("diffusion.logit_normal_mean=.nan", "logit_normal_mean is nan (number); expected a finite number"),
        ("diffusion.logit_normal_mean=-.inf", "logit_normal_mean is -inf (number); expected a finite number"),
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


@pytest.mark.parametrize("date", ["2026-11-25", "2026-13-45", "2026-11-25 12:00:00"])
def test_what_looks_like_a_date_is_text(write, date):
    assert strict.load(RunConfig, write(f"data:\n  root: {date}\n")).data.root == date
    assert strict.load(RunConfig, write(""), [f"data.root={date}"]).data.root == date


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("!!set {a}", "tag:yaml.org,2002:set"),
        ("!!binary aGVsbG8=", "tag:yaml.org,2002:binary"),
        ("!!timestamp 2026-13-45", "tag:yaml.org,2002:timestamp"),
        ("!!python/object:os.system {}", "python/object"),
        ("{? [a, b] : 1}", "a name is text, no list and no section"),
        ("{a: 1, a: 2}", "a is given twice"),
        ("&a {x: *a}", "more than 20 sections or lists in each other"),
        ("[" * 3000 + "]" * 3000, "more than 20 sections or lists in each other"),
        ("[" * 300 + "]" * 300, "more than 20 sections or lists in each other"),
        ("!!int a", "'a' cannot be read as int"),
        ("0x" + "f" * 9000, "cannot be read as int"),
        ("!!bool maybe", "'maybe' cannot be read as bool"),
        ('"\\ud800"', "cannot be read as str"),
        ("]", "but found ']'"),
        ("a\0b", "unacceptable character"),
    ],
)
def test_values_that_cannot_be_read(write, value, words):
    path = write(f"name: x\ndata:\n  root: {value}\n")
    said = complaint(path)
    assert words in said
    assert said.startswith((f"{path}:3: cannot read this as YAML: ", f"{path}: cannot read this as YAML: "))
    override = f"data.root={value}"
    said = complaint(write(""), override)
    assert said.startswith(f"cannot read the value in the override {override!r}: ")
    assert said.endswith("; quote it as YAML") and words in said


@pytest.mark.parametrize("content", [b"name: x\nseed: caf\xe9\n", b"name: x\n\xff\xfe", "name: x\n".encode("utf-16")])
def test_files_that_are_no_utf8(tmp_path, content):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    line = 2 if content.startswith(b"name") else 1
    assert complaint(path) == f"{path}:{line}: this is no text in UTF-8; save the file as that"


def test_names_are_text_whatever_they_look_like(write):
    path = write("name: x\n1: 2\n")
    assert complaint(path).startswith(f"{path}:2: unknown field 1; known: name, seed")
    assert "unknown field yes" in complaint(write("yes: 1\n"))


def test_values_that_are_said_once_and_merged(write):
    config = strict.load(RunConfig, write("data: &d {root: x}\nautoencoder: {source: &s here}\ninit: {from: *s}\n"))
    assert (config.data.root, config.init.from_) == ("x", "here")
    path = write("sample: {also: [&a {sampler: ddpm, num_steps: 5}, {<<: *a, num_steps: 6}]}\n")
    assert [way.num_steps for way in strict.load(RunConfig, path).sample.also] == [5, 6]


@pytest.mark.parametrize("preset", ["[VDT-L/2]", "{a: 1}", "3"])
def test_a_preset_of_another_kind(write, preset):
    assert "model.preset is " in complaint(write(""), f"model.preset={preset}")


def test_an_override_is_blamed_for_what_it_brings(write):
    path = write("optim:\n  lr: 1\nsample:\n  also:\n  - {sampler: ddim, num_steps: 3}\n")
    assert complaint(path, "foo.bar=1").startswith("override 'foo.bar=1': unknown field foo; known: ")
    said = complaint(path, "model.num_frames=40", "seed=1")
    assert said.startswith(f"{path} with override 'model.num_frames=40', override 'seed=1': model.num_frames is larger")
    said = complaint(path, "model.width=6", "model.num_heads=4")
    assert said.startswith("override 'model.width=6', override 'model.num_heads=4': model: width 6 must be a multiple")
    said = complaint(path, "sample.also=[{sampler: dim, num_steps: 3}]")
    assert said.startswith("override 'sample.also=[{sampler: dim, num_steps: 3}]': sample.also.0.sampler is 'dim'")
    path.write_text("name: x\noptim: {lr: 1}\nmodel:\n  depth: 3\n")
    assert complaint(path, "model.width=6").startswith(f"{path}:3 with override 'model.width=6': model: width 6 must")
    assert complaint(path, "model.width=6", "model={depth: 0}").startswith(
        "override 'model={depth: 0}': model.depth is 0"
    )


def test_a_missing_file(tmp_path):
    assert "No such file" in complaint(tmp_path / "run.yaml")


def test_configurations_are_frozen(write):
    config = strict.load(RunConfig, write(""))
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
