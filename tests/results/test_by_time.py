"""Quality over sampling time: what each way to sample took, and what it gave."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from results import by_time, by_time_figure, current
from vdt_hpc import pictures
from vdt_hpc.errors import UserError
from vdt_hpc.store.records import read_records
from vdt_hpc.store.samples import Pace, SampleSet


@pytest.fixture
def sampled(made_up):
    """Three ways: more steps take longer and come closer to the truth."""
    draw = np.random.default_rng(0)
    for sampler, num_steps in (("ddim", 50), ("ddim", 10), ("dpm-solver++", 10)):
        noise = draw.normal(0, 200 / num_steps, made_up.samples[:, :1].shape)
        samples = np.clip(made_up.frames[:, None] + noise, 0, 255).astype(np.uint8)
        info = replace(made_up.info(), sampler=sampler, num_steps=num_steps)
        made_up.write_samples(samples, info, Pace(0.02 * num_steps * len(samples), len(samples), "CPU, 1 thread"))
    made_up.evaluate(metrics=("psnr", "ssim", "fvd"))
    return made_up


def load(run):
    comparisons = current.newest(read_records(run.paths.records), run.config.data.frame_height_px)
    sets = {one.info.name: one for one in SampleSet.find_all(run.paths.samples)[0]}
    return by_time.load(comparisons, sets, run.config.evaluate.protocol)


def test_ways_come_with_their_time_and_their_numbers(sampled):
    (found,) = load(sampled)
    assert [(way.sampler, way.num_steps) for way in found.ways] == [("ddim", 10), ("dpm-solver++", 10), ("ddim", 50)]
    assert [way.seconds for way in found.ways] == pytest.approx([0.2, 0.2, 1.0])
    assert found.metrics == ["psnr", "ssim"]  # FVD has no number here
    records = {(r.subject, r.sampler, r.num_steps, r.metric): r for r in read_records(sampled.paths.records)}
    for way in found.ways:
        for metric in found.metrics:
            assert way.records[metric] == records["model", way.sampler, way.num_steps, metric]
    assert found.ceiling["psnr"] == records["autoencoder", None, None, "psnr"].value


def test_one_way_or_an_unknown_pace_makes_no_figure(made_up, sampled):
    for one in SampleSet.find_all(sampled.paths.samples)[0]:
        if one.info.num_steps == 50:
            made_up.write_samples(np.stack([clip for _, clip in one.clips()]), one.info, None)
    assert len(load(sampled)[0].ways) == 2
    for one in SampleSet.find_all(sampled.paths.samples)[0]:
        made_up.write_samples(np.stack([clip for _, clip in one.clips()]), one.info, None)
    assert load(sampled) == []


def test_the_device_that_made_most_parts_tells_the_time(sampled, monkeypatch):
    told = ((8, "NVIDIA A100"), (16, "NVIDIA A100"), (80, "NVIDIA A40"), (40, "NVIDIA A100"))
    paces = [Pace(seconds, 8, device) for seconds, device in told]
    monkeypatch.setattr(SampleSet, "paces", lambda self: paces)
    assert {(way.device, way.seconds) for way in load(sampled)[0].ways} == {("NVIDIA A100", 2.0)}


def test_a_line_for_each_sampler_and_device(sampled):
    (found,) = load(sampled)
    assert {name: len(ways) for name, ways in by_time_figure.lines_of(found).items()} == {"DDIM": 2, "DPM-Solver++": 1}
    mixed = replace(found, ways=[replace(found.ways[0], device="NVIDIA A40"), *found.ways[1:]])
    assert set(by_time_figure.lines_of(mixed)) == {
        "DDIM, NVIDIA A40", "DPM-Solver++, CPU, 1 thread", "DDIM, CPU, 1 thread",
    }  # fmt: skip


def test_the_picture_and_the_page_show_it(sampled, tmp_path):
    (found,) = load(sampled)
    drawn = by_time_figure.draw(found)
    assert [axes.get_ylabel() for axes in drawn.axes] == ["PSNR (dB) ↑", "SSIM ↑"]
    points = {tuple(point) for line in drawn.axes[0].lines[:2] for point in line.get_xydata()}
    assert points == {(way.seconds, way.records["psnr"].value) for way in found.ways}
    pictures.save(drawn, tmp_path / "time", ("png",))
    with Image.open(tmp_path / "time.png") as image:
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    sampled.report()
    html = sampled.paths.page.read_text()
    assert "Prediction: quality over sampling time" in html
    folded = [f"<summary>Prediction ({way} steps)</summary>" for way in ("DDIM, 10", "DPM-Solver++, 10")]
    assert html.index("<h3>Prediction (DDIM, 50 steps)</h3>") < min(map(html.index, folded))  # the run's own way first
    assert (sampled.paths.figures / "time-prediction.pdf").exists()


def test_samples_that_cannot_be_read_leave_the_rest_of_the_report(sampled):
    """One set has lost its JSON file to damage, another a part: the page names both and shows what there is."""
    first, second, third = SampleSet.find_all(sampled.paths.samples)[0]
    (first.folder / "samples.json").write_text("{}")
    with pytest.raises(UserError, match=r"reported .* are not shown: .*samples.json is damaged; .*; all else is in "):
        sampled.report()
    html = sampled.paths.page.read_text()
    assert f"{first.folder / 'samples.json'} is damaged" in html
    assert html.count("<video") == 2 and "Prediction: quality over sampling time" in html
    (second.folder / "part-00000.h5").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"part-00000.h5 is damaged"):
        sampled.report()
    html = sampled.paths.page.read_text()
    assert html.count("<video") == 1 and third.info.name in html
    assert "Prediction: quality over sampling time" not in html
