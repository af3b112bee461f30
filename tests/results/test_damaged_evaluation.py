"""What is damaged costs the numbers that need it, and no others; a part that was sampled again is measured again."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.results.conftest import make_run
from vdt_hpc import dist
from vdt_hpc.errors import UserError
from vdt_hpc.quality.distortion import psnr
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.store.records import read_records
from vdt_hpc.store.sample_info import SAMPLES
from vdt_hpc.store.samples import part_path, write_part

GIVEN = 2
BESIDE = {"copy-last-frame", "autoencoder", "real-against-real"}


@pytest.fixture
def run(made_up, monkeypatch):
    """A run whose samples lie in four parts."""
    monkeypatch.setattr("vdt_hpc.store.sample_info.CLIPS_PER_PART", 1)
    made_up.info_written = made_up.write_samples(made_up.samples)
    made_up.folder = made_up.paths.samples / made_up.info_written.name
    return made_up


def on_record(run):
    return {(r.subject, r.metric, r.samples) for r in read_records(run.paths.records) if r.value is not None}


def refused(run, **changes):
    """The line of an evaluation that could not measure everything."""
    with pytest.raises(UserError) as caught:
        run.evaluate(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_network_costs_its_own_metric(made_up, command_line, tiny_i3d, tmp_path, random_autoencoder):
    """At the command line, which ends with status 2; a damaged set of an old checkpoint is named beside it."""
    tiny_i3d()
    file = tmp_path / "weights" / "i3d_torchscript.pt"
    whole = file.read_bytes()
    file.write_bytes(b"not a network" * 100)
    run = make_run(command_line.root, made_up.frames, random_autoencoder)
    run.write_samples(made_up.samples)
    old = run.write_samples(made_up.samples, run.info(checkpoint="clips-000001600", clips_seen=1600))
    broken = run.paths.samples / old.name / SAMPLES
    broken.write_text("{")
    words = ["evaluate", "--run", run.paths.run_config, "--partition", "local", "evaluate.metrics=[fvd, ssim, psnr]"]
    done = command_line.run("launch", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    for told in (rf"2 faults: .*{broken}", rf"{file} is no TorchScript file", "put 8 of 8 records down"):
        assert re.search(told, done.stderr), done.stderr
    assert {(subject, metric) for subject, metric, _ in on_record(run)} == {
        (subject, metric) for subject in {"model", *BESIDE} for metric in ("ssim", "psnr")
    }
    file.write_bytes(whole)
    assert "put 4 of 12 records down" in refused(run, metrics=("fvd", "ssim", "psnr"))
    broken.unlink()
    assert "already measured: 12 records" in run.evaluate(metrics=("fvd", "ssim", "psnr")).summary


def test_a_damaged_part_costs_the_models_numbers_of_its_set(run):
    other = run.write_samples(run.samples[:, :1], replace(run.info_written, num_steps=99, num_trajectories=1))
    path, whole = part_path(run.folder, 2), part_path(run.folder, 2).read_bytes()
    path.write_bytes(whole[:3000])
    line = refused(run, metrics=("psnr",))
    assert f"1 fault: {path} is damaged" in line and "put 4 of 4 records down" in line
    assert on_record(run) == {("model", "psnr", other.name), *((row, "psnr", None) for row in BESIDE)}
    kept = sorted(file.name for file in (run.folder / "measures" / "model").iterdir())
    assert kept == ["psnr-00000.h5", "psnr-00001.h5", "psnr-00003.h5"]
    path.write_bytes(whole)
    assert run.evaluate(metrics=("psnr",)).summary == "put 1 of 5 records down"
    assert psnr_of(run, run.samples, run.info_written.name)


def psnr_of(run, samples, name):
    """Whether the record of a set has the mean PSNR of samples (N, K, T, H, W, 3)."""
    (found,) = [r for r in read_records(run.paths.records) if (r.samples, r.metric) == (name, "psnr")]
    clips = [psnr(Pixels(true[GIVEN:]), Pixels(one[GIVEN:]))
             for true, several in zip(run.frames, samples, strict=True) for one in several]  # fmt: skip
    return found.value == pytest.approx(np.mean(clips), rel=1e-12)


def test_an_autoencoder_that_is_another_costs_its_own_row(run, random_autoencoder, tmp_path):
    source = tmp_path / "another"
    source.mkdir()
    for file in random_autoencoder.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    autoencoder = run.config.autoencoder.model_copy(update={"source": str(source)})
    run.config = run.config.model_copy(update={"autoencoder": autoencoder})
    run.write_latents()
    run.write_samples(run.samples)
    (source / "diffusion_pytorch_model.safetensors").write_bytes(b"not weights")
    assert "1 fault: the autoencoder" in refused(run, metrics=("psnr",))
    assert {subject for subject, *_ in on_record(run)} == {"model", *BESIDE} - {"autoencoder"}


def test_the_last_task_puts_down_what_the_others_could_measure(run, monkeypatch):
    """The task that has the faulty part ends first, so that the others know nothing of the fault."""
    write_part(run.folder, 1, run.samples[1:2], ["elsewhere"])
    for rank in (1, 0, 2):
        monkeypatch.setattr("results.evaluate.current_task", lambda rank=rank: dist.Task(rank=rank, world_size=3))
        if rank == 1:
            assert "is elsewhere, the test split has town_000001" in refused(run, metrics=("psnr", "ssim"))
        else:
            assert "still with other tasks" in run.evaluate(metrics=("psnr", "ssim")).summary
    assert on_record(run) == {(row, metric, None) for row in BESIDE for metric in ("psnr", "ssim")}


def test_records_that_another_task_has_written_over_are_put_down_again(run, monkeypatch):
    from results import evaluate

    merge, lost = evaluate.merge_records, []

    def overwritten(path, new):
        merge(path, new)
        if not lost:
            lost.append(path.read_text())
            path.write_text(lost[0].splitlines()[0] + "\n")

    monkeypatch.setattr(evaluate, "merge_records", overwritten)
    assert run.evaluate(metrics=("psnr",)).summary == "put 4 of 4 records down"
    assert sorted(run.paths.records.read_text().splitlines()) == sorted(lost[0].splitlines())


def test_a_part_that_was_sampled_again_is_measured_again_and_alone(run):
    run.evaluate(metrics=("psnr", "ssim"))
    before = read_records(run.paths.records)
    stamps = {path: path.stat().st_mtime_ns for path in run.folder.rglob("measures/*/*.h5")}
    write_part(run.folder, 1, run.samples[1:2], [run.clip_id(1)])
    assert "already measured" in run.evaluate(metrics=("psnr", "ssim")).summary
    again = run.samples.copy()
    again[1] = run.frames[1] ^ 16
    write_part(run.folder, 1, again[1:2], [run.clip_id(1)])
    assert run.evaluate(metrics=("psnr", "ssim")).summary == "put 2 of 8 records down"
    assert psnr_of(run, again, run.info_written.name)
    changed = {path.relative_to(run.folder / "measures").as_posix() for path, at in stamps.items()
               if path.stat().st_mtime_ns != at}  # fmt: skip
    assert changed == {"model/psnr-00001.h5", "model/ssim-00001.h5"}
    after = read_records(run.paths.records)
    assert [r for r in before if r.subject != "model"] == [r for r in after if r.subject != "model"]


def test_a_number_whose_weights_are_gone_does_not_outlive_its_samples(run, tiny_i3d, tmp_path):
    tiny_i3d()
    run.evaluate(metrics=("fvd",))
    (tmp_path / "weights" / "i3d_torchscript.pt").unlink()
    write_part(run.folder, 1, run.frames[1:2, None].repeat(2, 1) ^ 16, [run.clip_id(1)])
    assert "put 1 of 4 records down; missing: I3D weights not found" in run.evaluate(metrics=("fvd",)).summary
    assert {row for row, *_ in on_record(run)} == BESIDE


def test_samples_and_measures_from_before_there_was_a_digest_stay_measured(run):
    import h5py

    run.evaluate(metrics=("psnr",))
    for path in run.folder.rglob("*.h5"):
        with h5py.File(path, "a") as file:
            for name in {"sha256", "samples_sha256"} & set(file.attrs):
                del file.attrs[name]
    text = run.paths.records.read_text()
    run.paths.records.write_text(re.sub(r', "samples_digest": [^,]+', "", text))
    assert "already measured" in run.evaluate(metrics=("psnr",)).summary
    run.paths.records.unlink()
    measures = {path: path.stat().st_mtime_ns for path in run.folder.rglob("measures/*/*.h5")}
    assert run.evaluate(metrics=("psnr",)).summary == "put 4 of 4 records down"
    assert {path: path.stat().st_mtime_ns for path in measures} == measures
    again = run.samples[1:2].copy()
    again[0] = run.frames[1] ^ 16
    write_part(run.folder, 1, again, [run.clip_id(1)])
    assert run.evaluate(metrics=("psnr",)).summary == "put 1 of 4 records down"
