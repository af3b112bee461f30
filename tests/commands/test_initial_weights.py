"""The look before the start, and the plan: the weights that a run begins with."""

from pathlib import Path

import pytest

from tests.commands.looking import faults, look, look_here
from tests.jobs import made_up
from vdt_hpc.cluster import snapshot
from vdt_hpc.cluster.snapshot import Snapshot
from vdt_hpc.commands.describing import describe
from vdt_hpc.commands.rehearsing import short_run
from vdt_hpc.experiment.paths import checkout


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = tmp_path / "weights"
    made.mkdir()
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(made))
    return made


def test_they_are_looked_for_until_there_is_a_checkpoint(new_run, folder):
    run = new_run(init={"from": "x.pt"}).write_latents()
    found = look_here(run, "train")
    assert "initial weights" in faults(found)
    assert f"no weights x.pt: there is no {checkout()}/x.pt and no {folder}/x.pt" in found["initial weights"].message
    assert "initial weights" not in look_here(new_run(), "train")
    assert "initial weights" not in look_here(run, "encode")
    (folder / "x.pt").write_bytes(bytes(2_500_000))
    said = look_here(run, "train")["initial weights"]
    assert (said.level, said.message) == ("ok", f"{folder}/x.pt, 2.5 MB")
    (folder / "x.pt").unlink()
    run.write_checkpoint(20, latents_fingerprint=run.fingerprint())
    assert "initial weights" not in look_here(run, "train")


def test_a_job_must_see_them_too(slurm, new_run, folder, monkeypatch):
    """Jobs run a copy of the code: what lies in the checkout beside the code is not there."""
    streets = "configs/autoencoder/streets"
    (folder / "x.pt").write_text("")
    sources = ("x.pt", str(folder / "x.pt"), streets, str(checkout() / streets))
    for source in sources:
        assert look(new_run(init={"from": source}), "train")["initial weights"].level == "ok", source
    monkeypatch.setattr(snapshot, "plan", lambda paths: Snapshot(folder, (Path("configs/run/smoke.yaml"),), ""))
    found = {source: look(new_run(init={"from": source}), "train")["initial weights"] for source in sources}
    assert [each.level for each in found.values()] == ["ok", "ok", "fault", "ok"]
    file = checkout() / streets / "diffusion_pytorch_model.safetensors"
    assert f"{file} is not in it: put it into {folder}, or give init.from as an absolute path" in found[streets].message
    assert look_here(new_run(init={"from": streets}), "train")["initial weights"].level == "ok"


def test_a_rehearsal_begins_with_them_too(new_run):
    run = new_run(init={"from": "x.pt", "frames": "stretch"})
    assert short_run.shorten(run.config, made_up.partition(run.root)).config.init == run.config.init


def test_the_plan_names_them(new_run, folder):
    run = new_run(init={"from": "x.pt"})

    def plan(*names):
        return describe(names, run.config, [made_up.partition(run.root)], run.paths, 1)

    assert "begins with  no weights x.pt: there is no " in plan("train")
    (folder / "x.pt").write_text("")
    assert f"begins with  weights from {folder}/x.pt\n" in plan("encode", "train")
    assert "begins with" not in plan("encode")
    assert "begins with" not in describe(["train"], new_run().config, [made_up.partition(run.root)], run.paths, 1)
