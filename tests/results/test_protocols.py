"""Protocols: which clips and trajectories they take, what they make of them, and the lab report's faults repeated."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file

from results import metrics
from results.frechet import frechet
from results.i3d import in_chunks, open_i3d
from results.metrics import base
from tests.quality.made_alexnet import alexnet
from vdt_hpc.commandline import load_run
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import protocol
from vdt_hpc.experiment.sample_counts import SampleCounts
from vdt_hpc.experiment.tasks_config import TASKS
from vdt_hpc.quality.distortion import psnr
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.store.measures import Measures
from vdt_hpc.store.records import merge_records, read_records

NAMES = sorted(path.stem for path in protocol.FOLDER.glob("*.yaml"))
GIVEN = 2


def records(run, **conditions):
    found = {}
    for record in read_records(run.paths.records):
        if all(getattr(record, name) == value for name, value in conditions.items()):
            found[record.subject, record.metric] = record
    return found


@pytest.fixture
def of_ours(monkeypatch, tmp_path):
    """Puts a protocol of the test's own beside the others."""
    folder = tmp_path / "protocols"
    folder.mkdir()
    monkeypatch.setattr(protocol, "FOLDER", folder)

    def put(file, **fields):
        content = {"name": file, "title": "ours", "clips": "all", "metrics": ["psnr"]} | fields
        (folder / f"{file}.yaml").write_text(json.dumps(content))

    return put


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_is_whole(name):
    found = protocol.load(name)
    assert found.title and found.remark
    for metric in found.metrics:
        assert base.find(metric).name == metric
    assert set(found.tasks or TASKS) <= set(TASKS)


@pytest.mark.parametrize("name", [path.stem for path in (Path(__file__).parents[2] / "configs" / "run").glob("*.yaml")])
def test_the_samples_of_every_run_serve_its_protocols(name):
    config = load_run(name)
    for one in map(protocol.load, config.evaluate.protocols):
        assert one.lacks(config.sample.counts(1525), 1525) is None


def test_all_clips_are_every_one():
    sampled = SampleCounts(num_clips=4, num_trajectories=1, num_repeated_clips=4)
    assert protocol.load("full1525").chosen(sampled, 1525) == list(range(1525))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"clips": "spread"}, "num_clips goes with clips: spread"),
        ({"num_clips": 4}, "num_clips goes with clips: spread"),
        ({"metric": ["psnr"]}, "metrics"),
        ({"name": "other"}, "a protocol has the name of its file"),
        ({"metrics": ["jedi"]}, "unknown metric 'jedi': there is no results/metrics/jedi.py"),
        ({"metrics": ["psnr:pooled"]}, "after the colon, psnr takes mean or best"),
        ({"metrics": ["fvd:best"]}, "after the colon, fvd takes mean or pooled"),
    ],
)
def test_mistakes_in_a_protocol_are_one_line(made_up, of_ours, content, said):
    of_ours("wrong", **content)
    made_up.write_samples(made_up.samples[:, :1])
    with pytest.raises(UserError, match=said) as refused:
        made_up.evaluate(protocols=("wrong",))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("protocols", [(), ("full1525",)])
def test_the_runs_own_protocol_may_not_have_the_name_of_a_file(made_up, protocols):
    made_up.write_samples(made_up.samples)
    with pytest.raises(UserError, match=r"'full1525' is the name of configs/protocol/full1525.yaml") as refused:
        made_up.evaluate(protocol="full1525", protocols=protocols)
    assert "\n" not in str(refused.value)
    assert not made_up.paths.records.exists()


def test_an_unknown_protocol_names_those_that_there_are(made_up):
    made_up.write_samples(made_up.samples[:, :1])
    with pytest.raises(UserError, match=r"unknown protocol 'mcvd': .* there are full1525, lab2024, mcvd256, quick"):
        made_up.evaluate(protocols=("mcvd",))


def test_clips_and_trajectories_are_those_that_it_states(made_up, of_ours):
    of_ours("two", clips="spread", num_clips=2, num_trajectories=1, metrics=["psnr", "ssim"])
    made_up.write_samples(made_up.samples)
    made_up.evaluate(metrics=(), protocols=("two",))
    found = records(made_up, protocol="two")
    expected = [psnr(Pixels(made_up.frames[i, GIVEN:]), Pixels(made_up.samples[i, 0, GIVEN:])) for i in (0, 3)]
    record = found["model", "psnr"]
    assert record.value == pytest.approx(np.mean(expected), rel=1e-12)
    assert (record.num_clips, record.num_trajectories) == (2, 1)
    assert found["copy-last-frame", "psnr"].num_clips == 2


def test_best_mean_and_pooled_trajectories(made_up, of_ours, tiny_i3d):
    tiny_i3d()
    metrics = ["psnr", "psnr:best", "psnr:mean", "lpips:best", "fvd", "fvd:pooled"]
    of_ours("ways", metrics=metrics)
    info = made_up.write_samples(made_up.samples)
    made_up.evaluate(metrics=(), protocols=("ways",))
    found = records(made_up, protocol="ways")
    clips = [[psnr(Pixels(true[GIVEN:]), Pixels(one[GIVEN:])) for one in several]
             for true, several in zip(made_up.frames, made_up.samples, strict=True)]  # fmt: skip
    assert found["model", "psnr"].value == pytest.approx(np.mean(clips), rel=1e-12)
    assert found["model", "psnr:mean"].value == found["model", "psnr"].value
    assert found["model", "psnr:best"].value == pytest.approx(np.max(clips, axis=1).mean(), rel=1e-12)
    assert found["copy-last-frame", "psnr:best"].value == found["copy-last-frame", "psnr"].value
    assert "weights not found" in found["model", "lpips:best"].missing
    kept = Measures(made_up.paths.samples / info.name)
    truth, features = kept.read("truth", "fvd", 1)[:, 0], kept.read("model", "fvd", 1)
    assert found["model", "fvd:pooled"].value == pytest.approx(frechet(truth, features), rel=1e-9)
    each = [frechet(truth, features[:, k]) for k in range(2)]
    assert found["model", "fvd"].value == pytest.approx(np.mean(each), rel=1e-9)
    assert base.find("psnr:best").label == "PSNR, best trajectory"
    made_up.config = made_up.config.model_copy(
        update={"evaluate": made_up.config.evaluate.model_copy(update={"protocols": ("ways",)})}
    )
    made_up.report()
    assert "best trajectory" in (made_up.paths.tables / "results.md").read_text()


def test_what_the_samples_lack_is_the_reason(made_up):
    made_up.write_samples(made_up.samples[:3, :1], made_up.info(num_clips=3))
    made_up.evaluate(protocols=("full1525", "mcvd256"))
    reasons = {record.missing for record in records(made_up, protocol="full1525").values()}
    assert reasons == {
        "protocol full1525 takes clips up to number 4 of the test split; 3 have samples (sample.num_clips)"
    }
    reasons = {record.missing for record in records(made_up, protocol="mcvd256").values()}
    assert reasons == {"protocol mcvd256 takes 256 test clips; there are 4"}
    assert records(made_up, protocol="2to28")["model", "psnr"].value > 0


def test_clips_with_several_trajectories_beside_clips_with_one(made_up, of_ours, tiny_i3d):
    """Clips 0 and 3 have two samples, the others one: each protocol takes of them what it states."""
    tiny_i3d()
    of_ours("every", num_trajectories=1, metrics=["psnr", "fvd"])
    of_ours("few", clips="spread", num_clips=2, num_trajectories=2, metrics=["psnr:best", "fvd:pooled"])
    of_ours("more", num_trajectories=2)
    samples = [clip[: 2 if index in (0, 3) else 1] for index, clip in enumerate(made_up.samples)]
    info = made_up.write_samples(samples, made_up.info(num_trajectories=2, num_repeated_clips=2))
    made_up.evaluate(metrics=("psnr", "ssim:best"), protocols=("every", "few", "more"))
    clips = [[psnr(Pixels(true[GIVEN:]), Pixels(one[GIVEN:])) for one in several]
             for true, several in zip(made_up.frames, samples, strict=True)]  # fmt: skip
    own, every, few = (records(made_up, protocol=name) for name in ("2to28", "every", "few"))
    assert every["model", "psnr"].value == pytest.approx(np.mean([clip[0] for clip in clips]), rel=1e-12)
    assert few["model", "psnr:best"].value == pytest.approx(np.mean([max(clips[0]), max(clips[3])]), rel=1e-12)
    assert few["model", "psnr:best"].num_trajectories == 2
    assert own["model", "psnr"].value == every["model", "psnr"].value
    assert own["model", "ssim:best"].num_trajectories == 1
    kept = Measures(made_up.paths.samples / info.name)
    truth, features = kept.read("truth", "fvd", 1)[:, 0], kept.read("model", "fvd", 1)
    assert np.isnan(features[1:3, 1]).all()
    assert np.isfinite(features[1:3, 0]).all()
    assert every["model", "fvd"].value == pytest.approx(frechet(truth, features[:, 0]), rel=1e-9)
    pooled = frechet(truth[[0, 3]], np.concatenate([features[[0, 3], k] for k in (0, 1)]))
    assert few["model", "fvd:pooled"].value == pytest.approx(pooled, rel=1e-9)
    assert records(made_up, protocol="more")["model", "psnr"].missing == (
        "protocol more takes 2 trajectories of each of its 4 clips; some have 1 (sample.num_trajectories, "
        "sample.num_repeated_clips)"
    )


def test_the_readmes_metric_is_one_file_and_its_name(made_up, tmp_path, monkeypatch, request):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (tmp_path / "motion.py").write_text(fenced(readme, "python")[0])
    monkeypatch.setattr("results.metrics.__path__", [*metrics.__path__, str(tmp_path)])
    request.addfinalizer(lambda: sys.modules.pop("results.metrics.motion", None))
    made_up.write_samples(made_up.samples[:, :1])
    (line,) = next(text for text in fenced(readme, "yaml") if "motion" in text).splitlines()
    told = yaml.safe_load(made_up.paths.run_config.read_text())
    del told["evaluate"]
    made_up.paths.run_config.write_text(yaml.safe_dump(told) + line + "\n")
    made_up.config = load_run(str(made_up.paths.run_config))
    assert made_up.config.evaluate.metrics == ("motion", "ssim:best")
    made_up.evaluate()
    del sys.modules["results.metrics.motion"]
    steps = [np.diff(clips[:, GIVEN:].astype(float), axis=1) for clips in (made_up.frames, made_up.samples[:, 0])]
    assert records(made_up)["model", "motion"].value == pytest.approx(np.abs(steps[0] - steps[1]).mean(), rel=1e-12)
    made_up.report()
    for name in ("results.md", "results.csv", "results.tex"):
        assert "otion" in (made_up.paths.tables / name).read_text()
    assert "Motion error" in made_up.paths.page.read_text()


def fenced(text, language):
    """What stands in a Markdown text's blocks of a language."""
    return [block.split("```")[0] for block in text.split(f"```{language}\n")[1:]]


def test_a_protocol_is_for_its_tasks(made_up):
    made_up.write_samples(made_up.samples[:, :1], made_up.info("unconditional"))
    made_up.evaluate(protocols=("full1525", "unconditional"))
    assert {record.protocol for record in read_records(made_up.paths.records)} == {"2to28", "unconditional"}


def test_another_protocol_needs_no_new_look_at_the_frames(made_up, of_ours, monkeypatch):
    made_up.write_samples(made_up.samples)
    made_up.evaluate(metrics=("psnr", "ssim"))
    monkeypatch.setattr("results.subjects.Beside.frames", lambda *arguments: pytest.fail("frames were looked at"))
    of_ours("later", num_trajectories=1, metrics=["psnr:best", "ssim"])
    assert "put 8 of 16 records down" in made_up.evaluate(metrics=("psnr", "ssim"), protocols=("later",)).summary


def test_a_metric_that_is_defined_anew_is_measured_anew(made_up, monkeypatch):
    made_up.write_samples(made_up.samples)
    made_up.evaluate(metrics=("psnr",))
    before = records(made_up)["model", "psnr"].value
    assert "already measured" in made_up.evaluate(metrics=("psnr",)).summary
    found = base.find("psnr")
    halved = replace(found, how="halved", open=lambda: lambda one, other: found.open()(one, other) / 2)
    monkeypatch.setattr("results.metrics.psnr.METRIC", halved)
    made_up.evaluate(metrics=("psnr",))
    assert records(made_up)["model", "psnr"].value == pytest.approx(before + 10 * np.log10(2), rel=1e-12)


def test_two_chunks_of_a_clip_are_two_samples(made_up, tiny_i3d):
    clip = Pixels(made_up.frames[0])
    assert in_chunks(lambda part: np.array([part.num_frames, part.values.mean()]), 8)(clip).tolist() == [
        [8, made_up.frames[0, :8].mean()], [4, made_up.frames[0, 8:].mean()],
    ]  # fmt: skip


def test_a_distance_below_that_of_as_many_real_clips_is_remarked(made_up, of_ours, tiny_i3d):
    """Two clips of four have a floor, of two others; all four have halves beside them, which are none; pooled
    trajectories have no number beside them, also where an earlier evaluation put one down."""
    tiny_i3d()
    of_ours("two", clips="spread", num_clips=2, metrics=["fvd", "fvd:pooled"])
    noisy = np.clip(made_up.frames[:, None].astype(int) + np.array([-1, 1])[None, :, None, None, None, None], 0, 255)
    made_up.write_samples(noisy.astype(np.uint8))
    made_up.evaluate(metrics=("fvd",), protocols=("two",))
    all_four, two = records(made_up, protocol="2to28"), records(made_up, protocol="two")
    pooled = two["real-against-real", "fvd:pooled"]
    assert pooled.missing.startswith("does not apply: pooled trajectories are more clips than there are real ones")
    merge_records(made_up.paths.records, [replace(pooled, value=9.9, missing=None, floor_clips=2)])
    assert made_up.evaluate(metrics=("fvd",), protocols=("two",)).summary == "put 1 of 12 records down"
    assert records(made_up, protocol="two")["real-against-real", "fvd:pooled"] == pooled
    made_up.report()
    for found, is_remarked in ((two, True), (all_four, False)):
        own, real = found["model", "fvd"], found["real-against-real", "fvd"]
        assert own.value < real.value and real.floor_clips == 2
        said = f"FVD of {own.value:.1f} is below that of real clips against real ones, {real.value:.1f}"
        for text in ((made_up.paths.tables / "results.md").read_text(), made_up.paths.page.read_text()):
            assert (said in text) == is_remarked
            assert text.count("between two sets of 2: too few clips to tell") == 1


def test_frames_that_are_too_small_for_a_metric_are_the_reason(made_up, tmp_path):
    (tmp_path / "weights").mkdir()
    save_file(alexnet(), tmp_path / "weights" / "alexnet-owt-7be5be79.safetensors")
    made_up.write_samples(made_up.samples[:, :1])
    made_up.evaluate(metrics=("lpips", "ssim"))
    assert records(made_up)["model", "lpips"].missing == "LPIPS needs frames of at least 31 px; these have 16"
    assert records(made_up)["model", "ssim"].value > 0


def test_two_chunks_of_each_clip_are_measured_and_kept(made_up, tiny_i3d, monkeypatch):
    tiny_i3d()
    found = base.find("fvd-16-14")
    halves = replace(found, min_frames=12, open=lambda: in_chunks(open_i3d(), 8))
    monkeypatch.setattr("results.metrics.fvd_16_14.METRIC", halves)
    info = made_up.write_samples(made_up.samples)
    made_up.evaluate(metrics=("fvd-16-14", "fvd-16-14:pooled"))
    kept = Measures(made_up.paths.samples / info.name)
    truth, features = kept.read("truth", "fvd-16-14", 1)[:, 0], kept.read("model", "fvd-16-14", 1)
    assert (truth.shape, features.shape) == ((4, 2, 6), (4, 2, 2, 6))
    each = [frechet(truth, features[:, k]) for k in range(2)]
    assert records(made_up)["model", "fvd-16-14"].value == pytest.approx(np.mean(each), rel=1e-9)
    pooled = frechet(truth, np.concatenate(features.swapaxes(0, 1)))
    assert records(made_up)["model", "fvd-16-14:pooled"].value == pytest.approx(pooled, rel=1e-9)
