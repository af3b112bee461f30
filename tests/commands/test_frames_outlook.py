"""What a dry run and the look before the start say of the frames to encode, as far as an index has counted them."""

import json

import pytest

from tests.commands.looking import look_here
from tests.jobs import made_up
from vdt_hpc.commands.checks import disk
from vdt_hpc.commands.describing import describe
from vdt_hpc.experiment.size import latents_bytes
from vdt_hpc.store.frames_index import IndexCounts, report_path, write_counts

COUNTS = IndexCounts({"train": 130, "val": 3, "test": 0}, 798, 900, 12_300_000, 0)


def said(run, *names):
    """The lines of a dry run by their labels."""
    text = describe(names, run.config, [made_up.partition(run.root)], run.paths, 1)
    return {line[:13].strip(): line[13:] for line in text.splitlines()}


@pytest.fixture
def run(new_run, tmp_path):
    (tmp_path / "frames.zip").write_bytes(b"x")
    return new_run(data__root=str(tmp_path / "frames.zip"))


def test_nothing_is_counted_yet(run, tmp_path):
    lines = said(run, "encode", "train")
    assert lines["frames"] == f"cityscapes, from {tmp_path / 'frames.zip'}, read in place"
    assert lines["indexed"].startswith("not yet: python -m vdt_hpc.launch index ... says what there is")
    assert lines["space"].endswith(f"are free in {run.root}")
    assert "space for latents" not in look_here(run, "encode")
    assert said(run, "train", "sample")["frames"] == str(tmp_path / "frames.zip")


def test_what_an_index_has_counted(run):
    write_counts(run.config, run.paths, COUNTS)
    lines = said(run, "encode")
    counted = "133 clips (train 130, val 3, test 0) of 798 frames, 12.3 MB in 900 files"
    assert lines["indexed"].partition(": ")[2] == counted
    size = 1.02 * (130 * latents_bytes(run.config, "train") + 3 * latents_bytes(run.config, "val"))
    assert lines["encoded"].startswith(f"4 shards, {size / 1e6:.3g} MB in all; ")  # of 64, 64, 2 and 3 clips
    assert lines["encoded"].endswith(f"are free in {run.root}")


def test_faults_are_told_with_the_report(run):
    write_counts(run.config, run.paths, IndexCounts({"train": 1, "val": 0, "test": 0}, 6, 6, 6, 2))
    assert said(run, "index")["indexed"].endswith(f"; 2 faults, see {report_path(run.config, run.paths)}")


def test_counts_that_cannot_be_read(run):
    write_counts(run.config, run.paths, COUNTS)
    (path,) = run.paths.indexes.glob("*.counts.json")
    for text in ("{", json.dumps({"num_clips": 3}), "[]"):
        path.write_text(text)
        assert said(run, "encode")["indexed"].startswith("not yet")


def test_other_frames_have_other_counts(run, new_run):
    write_counts(run.config, run.paths, COUNTS)
    assert said(new_run(data__root="elsewhere"), "encode")["indexed"].startswith("not yet")


def test_latents_that_are_there(run, new_run):
    assert said(run.write_latents(), "encode")["encoded"] == f"already, in {run.paths.latents}"
    write_counts(run.config, run.paths, COUNTS)
    assert "space for latents" not in look_here(run, "encode")


def test_made_up_and_other_sources(new_run, tmp_path):
    run = new_run(streets={})
    assert said(run, "encode")["frames"] == f"made up by the stage streets, in {run.paths.frames}"
    run = new_run(data__source="videos", data__root=str(tmp_path))
    assert said(run, "index")["frames"] == f"videos, from {tmp_path}"


@pytest.mark.parametrize(
    ("free_mb", "there_mb", "level"), [(2, 0, "ok"), (1.1, 0, "warning"), (0.9, 0, "fault"), (0.9, 0.5, "ok")]
)
def test_space_for_the_latents_to_come(run, monkeypatch, free_mb, there_mb, level):
    num_clips = round(1e6 / 1.02 / latents_bytes(run.config, "train"))
    write_counts(run.config, run.paths, IndexCounts({"train": num_clips, "val": 0, "test": 0}, 1, 1, 1, 0))
    if there_mb:
        run.paths.latents.mkdir(parents=True)
        (run.paths.latents / "train-00000.h5").write_bytes(bytes(int(there_mb * 1e6)))
    monkeypatch.setattr(disk, "free_bytes", lambda folder: int(free_mb * 1e6))
    found = look_here(run, "encode")["space for latents"]
    assert found.level == level, found.message
    assert ("no space for the latents: latents of 1 MB" in found.message) == (level == "fault")
    assert "space for latents" not in look_here(run, "train")
