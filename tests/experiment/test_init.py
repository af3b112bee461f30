"""`init.from` on its way: command line, YAML, config.yaml, signature, and the file that it means."""

import json

import pytest
import yaml

from vdt_hpc.commandline import load_run
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict, weights
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.model_config import InitConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import checkout, paths_for
from vdt_hpc.experiment.same_run import require_same_run
from vdt_hpc.experiment.signature import differing_fields, latents_signature, signature


def kept(config, path):
    """A configuration as the stage train writes it, read back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    return strict.load(RunConfig, path)


def test_it_comes_from_the_command_line_and_from_yaml_and_survives(tmp_path):
    words = ["init.from=a/b.pt", "init.frames=stretch"]
    run = load_run("smoke", words)
    assert (run.init.from_, run.init.frames) == ("a/b.pt", "stretch")
    (tmp_path / "run.yaml").write_text("init:\n  from: a/b.pt\n  frames: stretch\n")
    assert strict.load(RunConfig, tmp_path / "run.yaml").init == run.init
    assert kept(run, tmp_path / "config.yaml") == run
    assert load_run("smoke", [*words, "init.from=null", "init.frames=continue"]) == load_run("smoke")
    with pytest.raises(UserError, match=r"unknown field init.fro; did you mean from"):
        load_run("smoke", ["init.fro=x"])
    with pytest.raises(UserError, match=r"unknown field init.from_; did you mean from"):
        load_run("smoke", ["init.from_=x"])


def test_the_signature_sees_it_and_those_without_it_stay(tmp_path):
    plain, changed = load_run("smoke"), load_run("smoke", ["init.from=x.pt"])
    assert signature(plain) != signature(changed)
    assert signature(changed) != signature(load_run("smoke", ["init.from=y.pt"]))
    assert latents_signature(plain) == latents_signature(changed)
    assert differing_fields(plain, changed) == ["init.from"]
    tree = json.loads(plain.model_dump_json())
    del tree["init"]  # a config.yaml from before there was such a section
    assert signature(RunConfig.model_validate_json(json.dumps(tree))) == signature(plain)


def test_a_run_goes_on_with_the_weights_that_it_began_with(tmp_path):
    where = Partition(name="here", executor="local", root=str(tmp_path), max_clips_per_gpu=1)
    run = load_run("smoke", ["init.from=x.pt"])
    paths = paths_for(run, where)
    kept(run, paths.run_config)
    require_same_run(run, paths)
    for words in ([], ["init.from=y.pt"]):
        with pytest.raises(UserError, match=r"started with other settings \(init.from\)"):
            require_same_run(load_run("smoke", words), paths)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(tmp_path))
    return tmp_path


def test_where_the_file_lies(folder):
    for name in ("x.pt", "x.safetensors", "deep/x.bin", "y.pth", "exported/diffusion_pytorch_model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
        assert weights.initial_file(name) == folder / name
        assert weights.initial_file(str(folder / name)) == folder / name
    assert weights.initial_file("exported") == folder / "exported" / "diffusion_pytorch_model.safetensors"
    streets = "configs/autoencoder/streets/diffusion_pytorch_model.safetensors"
    assert weights.initial_file(streets) == checkout() / streets


def test_what_is_no_file_of_weights(folder):
    with pytest.raises(UserError) as caught:
        weights.initial_file("x.pt")
    assert str(caught.value) == (f"no weights x.pt: there is no {checkout()}/x.pt and no {folder}/x.pt; set init.from")
    with pytest.raises(UserError, match=r"no weights /nowhere/x.pt: there is no /nowhere/x.pt; set init.from$"):
        weights.initial_file("/nowhere/x.pt")
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no diffusion_pytorch_model.safetensors; set init.from to a file"):
        weights.initial_file("empty")
    (folder / "x.ckpt").write_text("")
    with pytest.raises(UserError, match=r"x.ckpt is no file of weights: init.from takes .safetensors, .pt, .pth, .bin"):
        weights.initial_file("x.ckpt")


def test_fresh_sections_are_those_of_the_default():
    assert InitConfig() == RunConfig().init
