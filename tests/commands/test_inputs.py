"""The look before the start: what each stage reads."""

import json
import os
import shutil
from dataclasses import asdict

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from tests.commands.looking import faults, look, look_here
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.weights import is_hub_name
from vdt_hpc.store.sample_info import SampleInfo


def test_latents_that_are_not_there(new_run):
    run = new_run()
    for stage in ("train", "sample", "evaluate"):
        assert look_here(run, stage)["latents"].message == (
            f"no finished latents at {run.paths.latents}; run the stage encode first"
        )
    assert "latents" not in look_here(run, "encode", "train", "sample")
    assert "latents" in faults(look_here(run, "train", "encode"))


def test_latents_of_a_run_that_was_copied_without_them(new_run):
    run = new_run()
    run.write_checkpoint(20, latents_fingerprint="abc")
    said = look_here(run, "train")["latents"]
    assert said.level == "fault"
    assert "clips-000000020 was trained on latents abc: copy them" in said.message
    assert f"rsync -a OTHER_CLUSTER:ROOT/latents/{run.paths.latents.name} {run.root}/latents/" in said.message


def test_latents_of_another_fingerprint(new_run):
    run = new_run().write_latents(seed=1)
    run.write_checkpoint(20, latents_fingerprint="abc")
    for stage in ("train", "sample"):
        said = look_here(run, stage)["latents"]
        assert said.level == "fault"
        assert f"are {run.fingerprint()}, and " in said.message
        assert "was trained on abc" in said.message


@pytest.mark.parametrize("damage", ["gone", "short", "manifest", "recipe"])
def test_latents_that_are_damaged(new_run, damage):
    run = new_run().write_latents()
    shard, manifest = run.paths.latents / "val-00000.h5", run.paths.latents / "manifest.json"
    if damage == "gone":
        shard.unlink()
    elif damage == "short":
        os.truncate(shard, 40_000)
    elif damage == "manifest":
        manifest.write_text("{}")
    else:
        manifest.write_text(manifest.read_text().replace('"signature": "', '"signature": "0'))
    said = look_here(run, "train")["latents"]
    assert said.level == "fault"
    words = {
        "gone": f"the shard {shard} is missing", "short": "has 40,000 bytes, its 3 clips need 59,904",
        "manifest": "is damaged", "recipe": "belong to another recipe",
    }  # fmt: skip
    assert words[damage] in said.message


def test_frames(new_run, tmp_path):
    frames = tmp_path / "frames"
    run = new_run(data__root=str(frames))
    tree = frames / "leftImg8bit_sequence"
    for made in (None, frames, tree):
        if made:
            made.mkdir()
        said = look_here(run, "encode")["frames"]
        assert said.level == "fault"
        assert (
            f"the folder {tree} {'is empty' if made == tree else 'does not exist'}; name the right folder"
            in said.message
        )
    (tree / "train").mkdir()
    assert look_here(run, "encode")["frames"].level == "ok"
    shutil.rmtree(tree)
    assert look_here(new_run(data__root=str(frames), data__source="videos"), "encode")["frames"].level == "fault"
    run.write_latents()
    assert {"frames", "autoencoder"}.isdisjoint(look_here(run, "encode"))  # finished latents are enough


@pytest.mark.parametrize("name", ["frames.zip", "frames.tar", "FRAMES.ZIP"])
def test_frames_in_an_archive(new_run, tmp_path, name):
    path = tmp_path / name
    run = new_run(data__root=str(path))
    said = look_here(run, "encode")["frames"]
    assert (said.level, said.message) == (
        "fault",
        f"no frames: the file {path} does not exist; name the right one with data.root=FILE",
    )
    path.write_bytes(b"")
    said = look_here(run, "index")["frames"]
    assert (said.level, said.message) == ("fault", f"no frames: the file {path} is empty; copy it again")
    path.write_bytes(bytes(2_000_000))
    said = look_here(run, "encode")["frames"]
    assert (said.level, said.message) == ("ok", f"in {path}, 2 MB, read in place")
    said = look_here(new_run(data__root=str(path), data__source="videos"), "encode")["frames"]
    assert (said.level, said.message) == (
        "fault",
        f"videos are read from a folder, not from {path}; unpack it and set data.root",
    )


def test_frames_in_a_file_of_another_kind(new_run, tmp_path):
    path = tmp_path / "frames.tar.gz"
    path.write_bytes(b"x")
    for source in ("cityscapes", "clips", "videos"):
        said = look_here(new_run(data__root=str(path), data__source=source), "encode")["frames"]
        assert (said.level, said.message) == (
            "fault",
            f"{path} is no folder, no .zip and no .tar; unpack it, and set data.root",
        )


def test_a_folder_may_be_named_like_an_archive(new_run, tmp_path):
    (tmp_path / "frames.zip" / "leftImg8bit_sequence" / "train").mkdir(parents=True)
    assert look_here(new_run(data__root=str(tmp_path / "frames.zip")), "encode")["frames"].level == "ok"


def test_made_up_frames(new_run):
    run = new_run(streets={})
    assert "run the stage streets first" in look_here(run, "encode")["frames"].message
    assert "frames" not in look_here(run, "streets", "encode")
    (run.paths.frames / "leftImg8bit_sequence" / "train").mkdir(parents=True)
    assert "are not all there yet" in look_here(run, "encode")["frames"].message
    (run.paths.frames / "streets-complete.json").write_text("{}")
    assert look_here(run, "encode")["frames"].level == "ok"
    assert "has no section streets" in look_here(new_run(), "streets")["streets"].message


def test_the_autoencoder(slurm, new_run, tmp_path, monkeypatch):
    weights, cache = tmp_path / "weights", tmp_path / "hub"
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(weights))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))

    def said(source, stage="encode"):
        return look(new_run(autoencoder__source=source), stage)["autoencoder"]

    assert said("configs/autoencoder/streets").level == "ok"
    assert "there is no folder" in said("nowhere").message
    assert said("nowhere", "sample").level == said("nowhere", "evaluate").level == "fault"
    hub = said("some/model")
    assert hub.level == "fault"
    assert (
        "jobs fetch nothing; run python -m vdt_hpc.weights some/model on a machine with internet, or put config.json "
        f"and diffusion_pytorch_model.safetensors into {weights}" in hub.message
    )
    here = look_here(new_run(autoencoder__source="some/model"), "encode")["autoencoder"]
    assert (here.level, here.message) == ("ok", "some/model will be fetched from the hub")
    with monkeypatch.context() as patch:
        patch.setenv("SLURM_JOB_ID", "7")
        here = look_here(new_run(autoencoder__source="some/model"), "encode")["autoencoder"]
        assert (here.level, "jobs fetch nothing" in here.message) == ("fault", True)
    with monkeypatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        assert "this machine is set offline" in said("some/model").message
    snapshots = cache / "models--some--model"
    (snapshots / "refs").mkdir(parents=True)
    (snapshots / "refs" / "main").write_text("0123")
    (snapshots / "snapshots" / "0123").mkdir(parents=True)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        (snapshots / "snapshots" / "0123" / name).write_text("{}")
    assert said("some/model").message == "some/model is in the hub's local cache"
    (weights / "some/model").mkdir(parents=True)
    (weights / "some/model" / "config.json").write_text("{}")
    assert (
        "has no diffusion_pytorch_model.safetensors; run python -m vdt_hpc.weights some/model on a machine with "
        "internet, put a" in said("some/model").message
    )


@pytest.mark.parametrize("owner", ["a", "-a", "a.", "a--b", "a" * 96, "a" * 97, "ä", "_a"])
@pytest.mark.parametrize("model", ["b", "b.", "b-", ".b", "b..c", "b.git", "b.gitx", "b" * 96, "b" * 97, "b/c", ""])
def test_an_autoencoders_name_on_the_hub(owner, model):
    """Other names are refused before the hub's client is asked, which ends with an error of its own."""
    try:
        validate_repo_id(f"{owner}/{model}")
    except HFValidationError:
        assert not is_hub_name(f"{owner}/{model}")
    else:
        assert is_hub_name(f"{owner}/{model}")


def test_an_autoencoder_that_neither_the_hub_nor_a_folder_can_be(new_run):
    said = look_here(new_run(autoencoder__source="some/model--x"), "encode")["autoencoder"]
    assert said.level == "fault"
    assert said.message.startswith("no autoencoder some/model--x: there is no folder ")


def test_a_checkpoint_to_sample_from(new_run):
    run = new_run().write_latents()
    assert "run the stage train first" in look_here(run, "sample")["checkpoint"].message
    assert "checkpoint" not in look_here(run, "train", "sample")
    folder = run.write_checkpoint(20, latents_fingerprint=run.fingerprint())
    assert look_here(run, "sample")["checkpoint"].message == "clips-000000020 of 60 clips"
    os.truncate(folder / "ema.safetensors", 10)
    for stage, subject in (("sample", "checkpoint"), ("train", "run")):
        found = look_here(run, stage)
        assert f"every checkpoint in {run.paths.checkpoints} is damaged" in found[subject].message
        assert subject in faults(found)
    run.write_checkpoint(10, latents_fingerprint=run.fingerprint())
    assert look_here(run, "sample")["checkpoint"].message == "clips-000000010 of 60 clips"
    run.write_checkpoint(30, signature="another")
    assert "belongs to another run (signature another" in look_here(run, "sample")["checkpoint"].message


def test_samples_and_records(new_run):
    run = new_run().write_latents()
    assert "run the stage sample first" in look_here(run, "evaluate")["samples"].message
    assert "run the stage evaluate first" in look_here(run, "report")["records"].message
    assert {"samples", "records"}.isdisjoint(look_here(run, "train", "sample", "evaluate", "report"))
    info = SampleInfo(
        run="tiny", dataset="made-up", task="prediction", given_frames=1, given=(0,), num_frames=5, window_frames=5,
        num_clips=3, num_trajectories=1, sampler="ddim", num_steps=3, seed=0, checkpoint="clips-000000020",
        clips_seen=20, run_signature="another", latents_fingerprint="0", code_commit="0",
    )  # fmt: skip
    path = run.paths.samples / "one" / "samples.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(info)))
    assert "were made with other settings of this run" in look_here(run, "evaluate")["samples"].message
    path.write_text(json.dumps(asdict(info) | {"run_signature": signature(run.config)}))
    assert look_here(run, "evaluate")["samples"].level == "ok"
    path.write_text("{")
    assert "is damaged" in look_here(run, "evaluate")["samples"].message


def test_weights_of_metrics(new_run, tmp_path, monkeypatch):
    monkeypatch.setenv("VDT_HPC_WEIGHTS", str(tmp_path))
    found = look_here(new_run(), "evaluate")
    assert (found["lpips"].level, found["fvd"].level) == ("warning", "warning")
    assert found["fvd"].message.startswith("fvd will be missing in the tables: put i3d_torchscript.pt (I3D) into")
    assert found["fvd"].message.endswith("as python -m vdt_hpc.weights i3d does")
    (tmp_path / "alexnet-owt-7be5be79.safetensors").write_text("")
    assert look_here(new_run(), "evaluate")["lpips"].level == "ok"
    assert "fvd" not in look_here(new_run(evaluate={"metrics": ["psnr"]}), "evaluate")
    found = look_here(new_run(evaluate={"metrics": ["lpips:best"], "protocols": ["full1525"]}), "evaluate")
    assert found["lpips"].level == "ok"
    assert found["fvd-16-14"].level == found["lpips-vgg"].level == "warning"


def test_metrics_that_there_are_not(new_run):
    found = look_here(new_run(evaluate={"metrics": ["sim", "psnr:bset", "ssim:best", "fvd:best"]}), "evaluate")
    assert faults(found) >= {"sim", "psnr:bset", "fvd:best"}
    assert "ssim:best" not in found
    assert found["sim"].message.startswith("unknown metric 'sim': there is no results/metrics/sim.py; there are fvd, ")
    assert "unknown metric 'psnr:bset': after the colon, psnr takes best or mean" in found["psnr:bset"].message
    assert "unknown metric 'fvd:best': after the colon, fvd takes mean or pooled" in found["fvd:best"].message
    assert faults(look_here(new_run(), "evaluate")).isdisjoint({"fvd", "ssim", "psnr", "lpips"})


def test_protocols_that_the_samples_to_come_do_not_serve(new_run):
    evaluate = {"protocols": ["full1525", "quick"]}
    run = new_run(evaluate=evaluate, sample={"num_clips": 2, "tasks": ["prediction"]})
    assert "protocol quick" not in look_here(run, "sample")  # nobody knows how many test clips there will be
    found = look_here(run.write_latents(), "sample")
    assert (found["protocol quick"].level, found["protocol full1525"].level) == ("ok", "warning")
    assert found["protocol full1525"].message == (
        "its numbers will be missing in the tables: protocol full1525 takes clips up to number 3 of the test split; 2 "
        "have samples (sample.num_clips)"
    )
    run = new_run(evaluate=evaluate, sample={"num_clips": 3, "tasks": ["unconditional"]}).write_latents()
    assert {"protocol quick", "protocol full1525"}.isdisjoint(look_here(run, "sample"))  # no task of theirs is sampled
    unknown = look_here(new_run(evaluate={"protocols": ["mcvd"]}), "sample")["protocols"]
    assert unknown.level == "fault"
    assert "unknown protocol 'mcvd'" in unknown.message
