"""Exported weights: through the command line, into diffusers, back into a run, and never over something else."""

import inspect
import json
import os
import re
import shutil
import signal
from types import SimpleNamespace

import diffusers
import pytest
import torch
from safetensors.torch import save_file

from jobs import beginning
from jobs.trainer import Trainer
from tests.jobs import made_up, ranks
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.experiment import architecture
from vdt_hpc.experiment.model_config import DiffusionConfig
from vdt_hpc.experiment.partition import plan_batch
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.export import main
from vdt_hpc.model import vdt
from vdt_hpc.model.diffusion import Diffusion
from vdt_hpc.model.exported import VdtModel
from vdt_hpc.store import checkpoint, exports

FILES = {"README.md", "config.json", "diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that was trained to its end, in a root of its own."""
    root = tmp_path_factory.mktemp("exported")
    paths = made_up.write_latents(made_up.config(train__total_clips=24), made_up.partition(root))
    ranks.train(root, {"train__total_clips": 24})
    return paths


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of it that a test may damage."""
    shutil.copytree(trained.root, tmp_path / "runs", ignore=shutil.ignore_patterns("lease", "exports"))
    return RunPaths(trained.config, tmp_path / "runs")


def averaged(paths, name="clips-000000024"):
    """The run's model with the averaged weights of a checkpoint."""
    model = vdt.build(paths.config)
    model.load_state_dict(checkpoint.read(paths.checkpoints / name).load("ema"))
    return model.eval()


def said(model):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, 5, made_up.CHANNELS, made_up.SIDE, made_up.SIDE, generator=generator)
    with torch.no_grad():
        return model(x, torch.tensor([5, 990]), torch.ones(2, 5, 1, 1, 1))


def refused(capsys, *words):
    assert main([str(word) for word in words]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


def test_an_export_says_what_the_run_says(trained, capsys, tmp_path):
    assert main(["tiny", "--root", str(trained.root)]) == 0
    folder = trained.exports / "clips-000000024"
    assert capsys.readouterr().out == f"exported the averaged weights of tiny, clips-000000024, to {folder}\n"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == FILES
    assert not list(trained.exports.glob(".*"))
    loaded, info = VdtModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert not loaded.training
    assert torch.equal(said(loaded), said(averaged(trained)))
    assert loaded.state_dict().keys() == averaged(trained).state_dict().keys()
    stated = {**architecture.arguments(trained.config), "prediction": "noise", "variance": "learned"}
    stated |= {"num_train_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "scaling_factor": 0.25}
    assert {name: value for name, value in loaded.config.items() if not name.startswith("_")} == stated
    loaded.save_pretrained(tmp_path / "again")
    again = VdtModel.from_pretrained(tmp_path / "again")
    assert torch.equal(said(again), said(loaded))
    assert main([str(trained.run), "--to", str(tmp_path / "again")]) == 0  # an export may be replaced
    assert (tmp_path / "again" / "README.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


OPTIONS = {"mask_channel": True, "frame_times": True, "qk_norm": True, "zero_temporal": True}


@pytest.mark.parametrize("diffusion", [{"prediction": "velocity", "variance": "fixed"}, {"prediction": "noise"}])
def test_every_option_of_the_model_is_in_the_export(tmp_path, diffusion):
    run = made_up.config(diffusion=diffusion)
    run = run.model_copy(update={"model": run.model.model_copy(update=OPTIONS)})
    model = vdt.build(run, 0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1
    stated = exports.arguments(run, SimpleNamespace(scaling_factor=2.0))
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "VdtModel", **stated}))
    save_file(model.state_dict(), tmp_path / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    loaded = VdtModel.from_pretrained(tmp_path)
    assert torch.equal(said(loaded), said(model))
    assert said(loaded).shape[2] == made_up.CHANNELS * (1 if "variance" in diffusion else 2)


def test_a_run_begins_with_an_export(trained, tmp_path):
    assert main(["tiny", "--root", str(trained.root), "--to", str(tmp_path / "x")]) == 0
    run = made_up.config(name="next", seed=7, init={"from": str(tmp_path / "x")})
    group = ProcessGroup(Task(), None)
    trainer = Trainer(run, plan_batch(run.batch, made_up.partition("nowhere")), group)
    assert not beginning.begin(run, trainer, group).report.remarks
    assert torch.equal(said(trainer.model), said(averaged(trained)))


def test_the_checkpoint_is_verified_and_may_be_named(copied, capsys, tmp_path):
    damaged = copied.checkpoints / "clips-000000024" / "ema.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    assert main(["tiny", "--root", str(copied.root)]) == 0
    assert "skipping the damaged checkpoint" in capsys.readouterr().out
    loaded = VdtModel.from_pretrained(copied.exports / "clips-000000018")
    assert torch.equal(said(loaded), said(averaged(copied, "clips-000000018")))
    words = ("tiny", "--root", copied.root, "--to", tmp_path / "x")
    line = refused(capsys, *words, "--checkpoint", "clips-000000024")
    assert "the checkpoint clips-000000024 is damaged: ema.safetensors does not match its SHA-256" in line
    line = refused(capsys, *words, "--checkpoint", "latest")
    assert "no checkpoint 'latest' in " in line
    assert "there are: clips-000000024, clips-000000018" in line
    shutil.rmtree(copied.checkpoints)
    assert "no valid checkpoint in" in refused(capsys, *words)
    assert not (tmp_path / "x").exists()
    assert "no run 'other'" in refused(capsys, "other", "--root", copied.root)


def test_nothing_else_is_overwritten(trained, capsys, tmp_path):
    words = ("tiny", "--root", trained.root, "--to", tmp_path / "x")
    (tmp_path / "x").mkdir()
    for name, text in (("notes.txt", "mine"), ("config.json", "{"), ("config.json", '{"_class_name": "UNet"}')):
        (tmp_path / "x" / name).write_text(text)
        assert f"{tmp_path / 'x'} is there and is no export of a model; nothing is overwritten" in refused(
            capsys, *words
        )
    assert (tmp_path / "x" / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    assert "is no export" in refused(capsys, "tiny", "--root", trained.root, "--to", tmp_path / "file")
    for path in (tmp_path / "x").iterdir():
        path.unlink()
    assert main([str(word) for word in words]) == 0  # an empty folder is nobody's


def test_the_scaling_factor_must_be_that_of_the_training(copied, capsys):
    manifest = copied.latents / "manifest.json"
    content = json.loads(manifest.read_text())
    content["autoencoder"]["sha256"] = "another"
    manifest.write_text(json.dumps(content))
    line = refused(capsys, "tiny", "--root", copied.root)
    assert "clips-000000024 was trained on latents" in line
    manifest.unlink()
    assert "no finished latents at" in refused(capsys, "tiny", "--root", copied.root)
    assert not copied.exports.exists()


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("variance", ["learned", "fixed"])
def test_the_scheduler_reverses_the_process_that_was_trained(prediction, variance):
    process = DiffusionConfig(prediction=prediction, variance=variance, num_train_steps=40, beta_end=0.3)
    stated = exports.scheduler(process)
    scheduler = diffusers.DDPMScheduler.from_config(stated)
    scheduler.set_timesteps(40)
    clean, noise = torch.randn(2, 1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.tensor([13])
    ours = Diffusion(process)
    noisy = ours.noisy(clean, noise, times)
    output = noise if prediction == "noise" else ours.velocity(clean, noise, times)
    if variance == "learned":
        output = torch.cat([output, torch.full_like(output, -1.0)], dim=2)
    step = scheduler.step(output.transpose(1, 2), 13, noisy.transpose(1, 2))
    torch.testing.assert_close(step.pred_original_sample.transpose(1, 2), clean, rtol=1e-4, atol=1e-4)
    assert stated["variance_type"] == {"learned": "learned_range", "fixed": "fixed_small"}[variance]


def test_a_flow_has_the_scheduler_of_straight_paths():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(
        exports.scheduler(DiffusionConfig(prediction="flow"))
    )
    scheduler.set_timesteps(4)
    clean, noise = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(0))
    state = noise
    for time in scheduler.timesteps:
        state = scheduler.step(noise - clean, time, state).prev_sample
    torch.testing.assert_close(state, clean)


def test_the_card_tells_the_run_and_its_example_runs(trained, tmp_path):
    folder = tmp_path / "x"
    assert main(["tiny", "--root", str(trained.root), "--to", str(folder)]) == 0
    card = (folder / "README.md").read_text()
    for part in (
        "after 24 of 24 clips", "| data set | made-up |", "| the model says | noise, variance learned |",
        "prediction 0.8, unconditional 0.2", "random weights of seed 0", "times 0.25",
    ):  # fmt: skip
        assert part in card
    assert str(tmp_path) not in card
    assert str(trained.root) not in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names = {"FOLDER": folder}
    exec(code.replace("set_timesteps(250)", "set_timesteps(3)"), names)
    assert names["latents"].shape == (1, 5, made_up.CHANNELS, made_up.SIDE, made_up.SIDE)
    assert names["latents"].isfinite().all()
    assert not names["latents"][:, :2].any()
    assert names["latents"][:, 2:].any()


def test_the_exported_model_takes_every_argument_of_the_model():
    takes, needs = (inspect.signature(kind).parameters.keys() for kind in (VdtModel.__init__, vdt.VDT.__init__))
    assert needs <= takes
    assert takes == {"self", *exports.arguments(made_up.config(), SimpleNamespace(scaling_factor=1.0))}


def test_ctrl_c_is_one_line(trained, tmp_path, command_line):
    """The checkpoint is a pipe here: the export waits for its content."""
    command_line.root = tmp_path
    folder = tmp_path / trained.run.name
    folder.mkdir()
    shutil.copy(trained.run_config, folder)
    waiting = folder / "checkpoints" / "clips-000000024"
    waiting.mkdir(parents=True)
    os.mkfifo(waiting / "checkpoint.json")
    process = command_line.start("export", folder)
    with (waiting / "checkpoint.json").open("w"):  # opens once the export has opened it
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert errors == "\nstopped; no export is left half written; the same command begins anew\n"
    assert process.returncode == 3
