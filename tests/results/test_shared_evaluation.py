"""The same records from one task, from three and from an array, and after stops; for processes that are killed see
test_evaluate_processes.py."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from results import measure
from results.metrics import base
from vdt_hpc import dist
from vdt_hpc.errors import UserError
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.store.measures import Measures
from vdt_hpc.store.records import read_records

METRICS = ("psnr", "ssim", "fvd")


@pytest.fixture
def run(made_up, tiny_i3d, monkeypatch):
    """A run whose samples lie in four parts."""
    tiny_i3d()
    monkeypatch.setattr("vdt_hpc.store.sample_info.CLIPS_PER_PART", 1)
    made_up.info_written = made_up.write_samples(made_up.samples)
    return made_up


def lines(run):
    return sorted(run.paths.records.read_text().splitlines())


def forget(run):
    run.paths.records.unlink()
    for kept in (run.paths.samples / run.info_written.name / "measures").rglob("*.h5"):
        kept.unlink()


def test_three_tasks_leave_the_records_of_one(run, monkeypatch):
    run.evaluate(metrics=METRICS)
    expected = lines(run)
    forget(run)
    for rank in (1, 2, 0):
        monkeypatch.setattr(dist, "current_task", lambda rank=rank: dist.Task(rank=rank, world_size=3))
        monkeypatch.setattr("results.evaluate.current_task", dist.current_task)
        result = run.evaluate(metrics=METRICS)
        assert run.paths.records.exists() == (rank == 0)
        if rank:
            assert "part(s) are still with other tasks" in result.summary
    assert lines(run) == expected


def test_three_jobs_of_an_array(run, monkeypatch):
    run.evaluate(metrics=METRICS)
    expected = lines(run)
    forget(run)
    for number in (2, 0, 1):
        task = dist.Task(array_index=number, array_size=3)
        monkeypatch.setattr("results.evaluate.current_task", lambda task=task: task)
        run.evaluate(metrics=METRICS)
    assert lines(run) == expected


def test_a_stop_keeps_what_was_measured(run, monkeypatch):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    check = measure.Measurer._check

    def then_stop(self, index, clip_id, samples):
        if index == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        check(self, index, clip_id, samples)

    monkeypatch.setattr(measure.Measurer, "_check", then_stop)
    try:
        result = run.evaluate(metrics=METRICS)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (result.complete, result.summary) == (False, "stopped by SIGTERM; what was measured is kept")
    kept = Measures(run.paths.samples / run.info_written.name)
    assert kept.read("model", "psnr", 2).shape == (2, 2, 10)
    assert not run.paths.records.exists()
    monkeypatch.undo()


def test_what_is_kept_is_one_value_for_each_generated_frame(run):
    from vdt_hpc.quality.distortion import mse_by_frame

    run.evaluate(metrics=("psnr", "fvd"))
    kept = Measures(run.paths.samples / run.info_written.name)
    values = kept.read("model", "psnr", 4)
    assert values.shape == (4, 2, 10)
    assert np.array_equal(values[3, 1], mse_by_frame(Pixels(run.frames[3, 2:]), Pixels(run.samples[3, 1, 2:])))
    assert kept.read("truth", "fvd", 4).shape == (4, 1, 6)


def test_damage_is_named(run):
    run.evaluate(metrics=("psnr",))
    run.paths.records.unlink()
    path = run.paths.samples / run.info_written.name / "measures" / "model" / "psnr-00002.h5"
    path.write_bytes(b"no file of HDF5")
    with pytest.raises(UserError, match=rf"{path.name} is damaged .*remove it and run the stage evaluate again"):
        run.evaluate(metrics=("psnr",))
    path.unlink()
    part = run.paths.samples / run.info_written.name / "part-00002.h5"
    part.write_bytes(b"no file of HDF5")
    with pytest.raises(UserError, match=rf"{part.name} is damaged .*run the stage sample again"):
        run.evaluate(metrics=("psnr",))


def test_a_value_that_is_no_number_becomes_no_record(run, monkeypatch):
    found = base.find("psnr")

    def broken():
        measure = found.open()
        return lambda one, other: np.where(np.arange(10) == 3, np.nan, measure(one, other))

    monkeypatch.setattr("results.metrics.psnr.METRIC", replace(found, open=broken))
    with pytest.raises(UserError, match="PSNR of clip town_000000, model, is no finite number"):
        run.evaluate(metrics=("psnr",))
    assert not run.paths.records.exists()
    assert Measures(run.paths.samples / run.info_written.name).metrics() == []


def test_a_feature_that_is_infinite_becomes_no_record(run, monkeypatch):
    found = base.find("fvd")
    monkeypatch.setattr("results.metrics.fvd.METRIC", replace(found, open=lambda: lambda clip: np.full(6, np.inf)))
    with pytest.raises(UserError, match=r"FVD of clip town_000000, .* is no finite number; are I3D's weights whole"):
        run.evaluate(metrics=("fvd",))
    assert not run.paths.records.exists()


def test_rows_beside_the_model_are_measured_once_for_several_ways_to_sample(run, monkeypatch):
    run.write_samples(run.samples, replace(run.info_written, num_steps=20))
    looked_at = []
    frames = measure.Beside.frames
    monkeypatch.setattr(
        "results.subjects.Beside.frames",
        lambda self, subject, *rest: looked_at.append(subject) or frames(self, subject, *rest),
    )
    summary = run.evaluate(metrics=METRICS).summary
    num_clips = len(run.frames)
    assert {subject: looked_at.count(subject) for subject in looked_at} == {
        "truth": 2 * num_clips, "copy-last-frame": num_clips, "autoencoder": num_clips,
        "real-against-real": num_clips,
    }  # fmt: skip
    assert len(lines(run)) == 2 * len(METRICS) + 3 * len(METRICS)
    assert summary == "put 15 of 15 records down"
    assert "already measured: 15 records" in run.evaluate(metrics=METRICS).summary


def test_a_set_that_lacks_clips_takes_no_number_from_one_that_has_them(run):
    """Of two sets of one task one has all clips: the rows beside it are measured, whichever set comes first."""
    few = replace(run.info_written, num_clips=3, num_steps=20)
    more = replace(run.info_written, num_steps=99)
    run.write_samples(run.samples[:3], few)
    run.write_samples(run.samples, more)
    names = [info.name for info in (few, more, run.info_written)]
    assert sorted(names)[0] == few.name and sorted(names)[-1] == more.name
    run.evaluate(metrics=("psnr",), protocols=("full1525",))
    found = {(r.subject, r.samples): r for r in read_records(run.paths.records)
             if (r.protocol, r.metric) == ("full1525", "psnr")}  # fmt: skip
    assert {key for key, record in found.items() if record.missing} == {("model", few.name)}
    assert len(found) == 3 + 3
