"""Frames to a page through the command line: everything is there, is traceable, and is not done twice."""

import json
import shutil

import numpy as np
import pandas as pd
import yaml

from vdt_hpc.commandline import load_run
from vdt_hpc.experiment.signature import signature
from vdt_hpc.store.records import read_records
from vdt_hpc.store.samples import SampleSet

STAGES = ["streets", "encode", "train", "sample", "evaluate", "report"]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_end_names_what_to_open(pipeline):
    for name in ("tables", "figures", "index.html"):
        assert str(pipeline.run_folder / name) in pipeline.done.stdout
    for number, stage in enumerate(STAGES, 1):
        assert f"[{number}/6] {stage}" in pipeline.done.stdout


def test_the_run_directory_is_as_promised(pipeline):
    names = {path.name for path in pipeline.run_folder.iterdir()}
    promised = {
        "config.yaml",
        "latents.json",
        "jobs",
        "checkpoints",
        "progress.jsonl",
        "tensorboard",
        "samples",
        "records.jsonl",
    }
    assert promised | {"lease", "strips", "jobs.jsonl", "tables", "figures", "index.html"} == names
    assert {path.name for path in pipeline.root.iterdir()} == {"frames", "indexes", "latents", "smoke"}
    assert not list(pipeline.root.rglob("*.tmp"))
    kept = load_run(str(pipeline.run_folder / "config.yaml"))
    assert signature(kept) == signature(load_run("smoke"))


def test_the_frames_lie_as_in_cityscapes(pipeline):
    (tree,) = (pipeline.root / "frames").iterdir()
    for split, num_clips in (("train", 4), ("val", 2), ("test", 2)):
        files = sorted((tree / "leftImg8bit_sequence" / split).glob("*/*_leftImg8bit.png"))
        assert len(files) == num_clips * 30
        for file in files:
            city, sequence, frame, kind = file.stem.split("_")
            assert (city, len(sequence), len(frame), kind) == (file.parent.name, 6, 6, "leftImg8bit")


def test_training_is_logged_to_its_end(pipeline):
    logged = lines(pipeline.run_folder / "progress.jsonl")
    seen = [line["clips_seen"] for line in logged if "loss" in line]
    assert seen == [6, 12, 18, 24]
    checkpoints = sorted(path.name for path in (pipeline.run_folder / "checkpoints").iterdir())
    assert checkpoints == ["clips-000000012", "clips-000000024"]


def test_every_number_is_there_or_has_its_reason(pipeline):
    records = read_records(pipeline.run_folder / "records.jsonl")
    subjects = {"model", "copy-last-frame", "autoencoder", "real-against-real"}
    metrics = {"psnr", "ssim", "lpips", "fvd"}
    assert {(record.subject, record.metric) for record in records} == {(s, m) for s in subjects for m in metrics}
    measured = {record.metric for record in records if record.value is not None}
    assert measured >= {"psnr", "ssim"}
    for record in records:
        assert (record.value is None) == bool(record.missing)
        assert record.num_clips == 2


def test_the_table_holds_published_rows_and_ours_apart(pipeline):
    (table,) = (pipeline.run_folder / "tables").glob("*.csv")
    frame = pd.read_csv(table)
    ours, published = frame[frame["run"] == "smoke"], frame[frame["run"] != "smoke"]
    assert set(ours["dataset"]) == {"streets"}
    assert set(published["dataset"]) == {"cityscapes"}
    assert len(set(published["method"] if "method" in frame else published["subject"])) == 14


def test_a_second_run_finds_everything_done(pipeline):
    views = ("jobs", "tables", "figures", "index.html")

    def state():
        return {
            path: path.stat().st_mtime_ns
            for path in pipeline.root.rglob("*")
            if path.is_file() and not any(part in views for part in path.relative_to(pipeline.run_folder.parent).parts)
        }

    before = state()
    done = pipeline.launch(*STAGES)
    assert done.returncode == 0, done.stderr
    assert state() == before


def test_the_remedy_for_a_damaged_part_of_samples_mends_it(command_line, pipeline):
    shutil.copytree(pipeline.root, command_line.root)
    run = command_line.root / "smoke"
    part = next(run.glob("samples/prediction-*/part-00000.h5"))
    whole = dict(SampleSet.open(part.parent).clips())
    part.write_bytes(part.read_bytes()[:500])
    (run / "records.jsonl").unlink()
    shutil.rmtree(part.parent / "measures")
    assert f"{part} is damaged" in command_line.refused("evaluate")
    part.unlink()
    done = command_line.launch("sample", "evaluate")
    assert done.returncode == 0, done.stderr
    assert all(np.array_equal(clip, whole[name]) for name, clip in SampleSet.open(part.parent).clips())
    assert len(read_records(run / "records.jsonl")) == len(read_records(pipeline.run_folder / "records.jsonl"))


def test_two_tasks_take_the_same_path(command_line, two_tasks):
    done = command_line.launch(*STAGES, "train.total_clips=12", partition=str(two_tasks))
    assert done.returncode == 0, done.stdout + done.stderr
    seen = [line["clips_seen"] for line in lines(command_line.root / "smoke" / "progress.jsonl") if "loss" in line]
    assert seen == [6, 12]
    assert (command_line.root / "smoke" / "index.html").exists()


def test_the_page_names_its_provenance(pipeline):
    page = (pipeline.run_folder / "index.html").read_text()
    manifest = json.loads(next((pipeline.root / "latents").glob("*/manifest.json")).read_text())
    assert manifest["fingerprint"] in page
    assert "clips-000000024" in page
    assert yaml.safe_load((pipeline.run_folder / "config.yaml").read_text())["name"] == "smoke"
