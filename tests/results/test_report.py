"""The stage `report` and its front door on made-up runs."""

import errno
import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from results import progress_curve, shown, training_strips, videos
from results.notes import Notes
from tests.results.latex_reader import read
from vdt_hpc import pictures
from vdt_hpc import report as front_door
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import stages
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.stages import StageResult


@pytest.fixture
def measured(made_up):
    made_up.write_samples(made_up.samples[:, :1])
    made_up.write_samples(made_up.samples[:, :1], made_up.info("unconditional"))
    made_up.write_log()
    made_up.write_ledger()
    made_up.evaluate(metrics=("fvd", "psnr"))
    return made_up


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_writes_everything(measured):
    result = measured.report()
    assert names(measured.paths.tables) == ["results.csv", "results.md", "results.tex"]
    stems = ["frames-prediction-ddim-50", "jobs", "loss", "strip-prediction-ddim-50", "strip-unconditional-ddim-50"]
    drawn = [f"{stem}.{suffix}" for stem in stems for suffix in ("pdf", "png")]
    filmed = [f"video-{task}-ddim-50.{suffix}" for task in ("prediction", "unconditional") for suffix in ("gif", "mp4")]
    assert names(measured.paths.figures) == drawn + filmed
    for path in measured.paths.figures.glob("*.png"):
        assert min(Image.open(path).size) > 200
    for path in result.outputs.values():
        assert str(measured.paths.run) in path
    html = measured.paths.page.read_text()
    for text in ("clips-000003200", measured.fingerprint, "0123456789ab", "SVG-LP", "town_000000", "GHVAE"):
        assert text in html
    for path in (measured.paths.tables / "results.md", measured.paths.page):
        assert "weights not found" in path.read_text()
    links = re.findall(r"""(?:src|href|srcset)\s*=\s*["']([^"']{0,40})""", html)
    assert links and all(link.startswith(("data:", "#", "figures/")) for link in links)
    assert len(read((measured.paths.tables / "results.tex").read_text())) == 2
    assert "What the averaged weights generate" not in html
    assert not re.search(r"url\(|@import|fetch\(|https?://", html)
    assert not list(measured.root.rglob("*.tmp"))

    files = [path for folder in (measured.paths.tables, measured.paths.figures) for path in folder.iterdir()]
    files = [path for path in files if path.suffix != ".mp4"]  # the encoder does not promise the same bytes
    before = {path: path.read_bytes() for path in files}
    measured.report()
    assert {path: path.read_bytes() for path in files} == before


def test_sets_that_differ_in_the_seed_alone_have_files_of_their_own(made_up):
    sets = [made_up.write_samples(made_up.samples[:, :1], made_up.info(seed=seed)) for seed in (0, 1)]
    made_up.evaluate(metrics=("psnr",))
    made_up.report()
    digests = [info.name.rpartition("-")[2] for info in sets]
    for kind in ("strip", "frames"):
        for digest in digests:
            assert (made_up.paths.figures / f"{kind}-prediction-ddim-50-{digest}.png").exists()
    assert made_up.paths.page.read_text().count("<video") == 2


def test_without_records_it_says_what_to_do(made_up):
    with pytest.raises(UserError, match="run the stage evaluate first"):
        made_up.report()


def test_what_is_gone_is_said_on_the_page(measured):
    measured.paths.progress_log.unlink()
    for path in measured.paths.samples.glob("prediction*/samples.json"):
        path.unlink()
    measured.report()
    html = measured.paths.page.read_text()
    assert f"The loss curve is not shown: there is no training log {measured.paths.progress_log}." in html
    assert "are not shown: no finished samples at" in html
    assert not (measured.paths.figures / "loss.png").exists()


def test_the_page_shows_strips_of_the_training(measured):
    measured.write_strips()
    measured.report()
    html = measured.paths.page.read_text()
    assert re.findall(r'alt="Film strip after ([\d,]+) clips', html) == ["800", "1,600", "3,200"]
    assert "for the same validation clips after 800, 1,600 and 3,200 clips." in html


@pytest.mark.parametrize(
    ("drawn", "shown", "said"),
    [
        ((), [], None),
        ((800,), [800], "after 800 clips."),
        ((800, 3200), [800, 3200], "after 800 and 3,200 clips."),
        ((800, 1600, 2400, 3200, 4000), [800, 2400, 4000], "after 800, 2,400 and 4,000 clips."),
    ],
)
def test_the_first_the_middle_and_the_last_strip_are_shown(made_up, drawn, shown, said):
    made_up.write_strips(drawn)
    found = training_strips.load(made_up.paths.strips, Notes())
    assert [strip.clips_seen for strip in found] == shown
    assert said is None or training_strips.caption(found).endswith(said)


def cut(path, num_bytes):
    path.write_bytes(path.read_bytes()[:num_bytes])
    return path


def front(run):
    """Exit status of the front door for a run."""
    return front_door.main([run.config.name, "--root", str(run.root)])


def test_a_damaged_file_costs_its_own_part_of_the_page_alone(measured, capsys):
    measured.write_strips((800, 1600, 3200))
    with measured.paths.progress_log.open("ab") as log:
        log.write(b"\xff\xfe\n")
    ledger = measured.paths.ledger
    ledger.write_text(ledger.read_text().replace("2026-01-05T11", "2026-13-05T11"))
    strip = cut(measured.paths.strips / "clips-000001600.png", 300)
    (measure,) = measured.paths.samples.glob("prediction*/measures/model/psnr-00000.h5")
    damaged = [measured.paths.progress_log, ledger, strip, cut(measure, 100)]
    measured.paths.page.write_text("an old page")
    assert front(measured) == 2
    html, (said,) = measured.paths.page.read_text(), capsys.readouterr().err.splitlines()
    assert said.startswith("error: made-up: reported clips-000003200: 2 table(s), 2 film strip(s); ")
    assert said.endswith(f"; all else is in {measured.paths.page}")
    for path in damaged:
        assert f"not shown: {path}" in html and f"not shown: {path}" in said
    assert "VDT, run made-up" in html and html.count("<video") == 2
    assert re.findall(r'alt="Film strip after ([\d,]+) clips', html) == ["800", "3,200"]
    assert 'alt="Quality over the index of the frame. PSNR at each generated frame' in html  # of the rows beside it
    assert "Loss over clips seen" not in html and "Timeline of the jobs" not in html


def test_tables_need_no_manifest(measured):
    path = cut(measured.paths.latents / "manifest.json", 50)
    assert front(measured) == 2
    html, table = measured.paths.page.read_text(), (measured.paths.tables / "results.md").read_text()
    assert "VDT, run made-up" in html and "Loss over clips seen" in html and "<video" not in html
    for text in (html, table):
        assert f"What the latents say of the data is not shown: {path} is damaged" in text


def test_a_last_line_that_a_killed_process_left_unfinished_is_normal(measured):
    with measured.paths.progress_log.open("a") as log:
        log.write('{"kind": "train", "clips_se')
    assert measured.report().summary == "reported clips-000003200: 2 table(s), 2 film strip(s)"
    html = measured.paths.page.read_text()
    assert "Loss over clips seen" in html and "not shown" not in html


def test_numbers_of_a_metric_that_is_gone_are_left_out_with_a_note(measured, capsys):
    first = measured.paths.records.read_text().splitlines()[0]
    with measured.paths.records.open("a") as records:
        records.write(json.dumps(json.loads(first) | {"metric": "motion", "value": 123.456, "missing": None}) + "\n")
    (measure,) = measured.paths.samples.glob("prediction*/measures/model/psnr-00000.h5")
    shutil.copy(measure, measure.with_name("motion-00000.h5"))
    assert front(measured) == 0
    gone = "unknown metric 'motion': there is no results/metrics/motion.py"
    html, table = measured.paths.page.read_text(), (measured.paths.tables / "results.md").read_text()
    for text in (html.replace("&#39;", "'"), table, capsys.readouterr().out):
        assert f"1 record is left out of {measured.paths.records}: {gone}" in text
    assert f"what {measure.parents[2]} keeps: {gone}" in html.replace("&#39;", "'")
    assert "123.456" not in html + table + (measured.paths.tables / "results.csv").read_text()
    assert "PSNR at each generated frame" in html


def test_a_part_that_lacks_clips_is_told(measured):
    (part,) = measured.paths.samples.glob("prediction*/part-00000.h5")
    with h5py.File(part) as file:
        held = {name: file[name][:3] for name in ("samples", "clip_id")}
    with h5py.File(part, "w") as file:
        for name, values in held.items():
            file[name] = values
    with pytest.raises(UserError, match=r"part-00000\.h5 holds 3 of 4 clips; remove it and run the stage sample again"):
        measured.report()
    assert "part-00000.h5 holds 3 of 4 clips" in measured.paths.page.read_text()


@pytest.mark.parametrize(
    ("limit", "has_h264", "said", "linked"),
    [(100, True, "The video is too large for this page.", True), (1 << 20, False, "cannot write H.264", False)],
)
def test_a_video_that_cannot_be_shown_is_said(made_up, monkeypatch, limit, has_h264, said, linked):
    made_up.write_samples(made_up.samples[:, :1])
    made_up.evaluate(metrics=("psnr",))
    monkeypatch.setattr(shown, "MOST_EMBEDDED_BYTES", limit)
    monkeypatch.setattr(videos, "has_h264", lambda: has_h264)
    made_up.report()
    html = made_up.paths.page.read_text()
    assert said in html and "<video" not in html
    assert (">MP4</a>" in html) is linked and ">GIF</a>" in html


def test_names_are_escaped(measured):
    measured.config = measured.config.model_copy(
        update={"data": measured.config.data.model_copy(update={"dataset": "<script>alert(1)</script>"})}
    )
    measured.report()
    assert "<script>alert" not in measured.paths.page.read_text()


def test_the_front_door_reports_all_runs_or_those_named(made_up, capsys, monkeypatch):
    reported = []

    def stage(config, partition):
        paths = RunPaths(config, Path(partition.root))
        reported.append(paths.run)
        return StageResult("reported", outputs={"page": str(paths.page)})

    monkeypatch.setattr(stages, "load", {"report": stage, "compare": lambda *where: StageResult("compared")}.get)
    made_up.paths.records.touch()
    one, copy, bare = made_up.paths.run, made_up.root / "renamed", made_up.root / "not-measured"
    shutil.copytree(one, copy)
    shutil.copytree(one, bare)
    (bare / "records.jsonl").unlink()
    for words, expected in (([], [one, copy]), (["renamed"], [copy]), ([str(one), "renamed"], [one, copy])):
        reported.clear()
        assert front_door.main([*words, "--root", str(made_up.root)]) == 0
        assert reported == expected
    assert str(made_up.paths.page) in capsys.readouterr().out


def test_a_run_that_cannot_be_reported_leaves_the_others_be(made_up, capsys, monkeypatch):
    def stage(config, partition):
        if config.name == "made-up":
            raise UserError("its records are damaged")
        return StageResult("reported")

    def compare(config, partition):
        assert partition.root == str(made_up.root)
        raise UserError("no comparison")

    monkeypatch.setattr(stages, "load", {"report": stage, "compare": compare}.get)
    for name in ("before", "unreadable", "well"):
        shutil.copytree(made_up.paths.run, made_up.root / name)
    (made_up.root / "unreadable" / "config.yaml").write_text("model: 3\n")
    for run in ("before", "made-up", "unreadable", "well"):
        (made_up.root / run / "records.jsonl").touch()
    assert front_door.main(["--root", str(made_up.root)]) == 2
    told = capsys.readouterr()
    assert told.out.splitlines() == ["before: reported", "well: reported"]
    damaged, unreadable, comparison = told.err.splitlines()
    assert damaged == "error: made-up: its records are damaged"
    assert unreadable.startswith("error: unreadable: ") and "model is 3" in unreadable
    assert comparison == "error: compare: no comparison"


def test_a_crash_is_of_its_run_alone(made_up, capsys, monkeypatch):
    def stage(config, partition):
        if config.name == "made-up":
            raise RuntimeError("a bug")
        return StageResult("reported")

    monkeypatch.setattr(stages, "load", {"report": stage, "compare": lambda *where: StageResult("compared")}.get)
    shutil.copytree(made_up.paths.run, made_up.root / "well")
    for run in ("made-up", "well"):
        (made_up.root / run / "records.jsonl").touch()
    assert front_door.main(["--root", str(made_up.root)]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == ["well: reported", "compare: compared"]
    assert told.err.startswith("error: made-up crashed:\nTraceback ") and told.err.endswith("RuntimeError: a bug\n")


def test_a_run_that_may_not_be_looked_into_is_told_and_leaves_the_others_be(made_up, capsys, monkeypatch):
    made_up.write_samples(made_up.samples[:, :1])
    made_up.evaluate(metrics=("psnr",))
    theirs = made_up.root / "theirs"
    shutil.copytree(made_up.paths.run, theirs)

    def refused(look):
        def looks(path, *how, **words):
            if path.parent == theirs:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return look(path, *how, **words)

        return looks

    monkeypatch.setattr(Path, "is_file", refused(Path.is_file))  # root, who runs the tests, may look everywhere
    monkeypatch.setattr(Path, "open", refused(Path.open))
    assert front_door.main(["--root", str(made_up.root)]) == 2
    told, denied = capsys.readouterr(), f"cannot read {theirs / 'config.yaml'}: Permission denied"
    assert told.err == f"error: theirs: {denied}\n"
    assert (
        "made-up: reported " in told.out and f"compare: 1 run(s) in 1 table(s); left out theirs: {denied}" in told.out
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "error: no run 'nobody'"),
        ([], "has records; run the stage evaluate first"),
        (["--rot", "x"], "unrecognized arguments"),
    ],
)
def test_mistakes_at_the_front_door_are_one_line(tmp_path, capsys, words, said):
    (tmp_path / "frames").mkdir()
    assert front_door.main([*words, "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_the_curve_reads_its_log_strictly(tmp_path):
    path = tmp_path / "progress.jsonl"
    assert progress_curve.read(path) is None
    lines = [
        {"kind": "start", "clips_seen": 0, "partition": "a100"},
        {"kind": "train", "clips_seen": 8, "loss": 1.0},
        {"kind": "train", "clips_seen": 16, "loss": None},
        {"kind": "start", "clips_seen": 16, "partition": "a40"},
        {"kind": "validation", "clips_seen": 16, "val_loss": 0.5},
        {"kind": "train", "clips_seen": 24, "loss": 0.4, "clips_per_s": 5.5},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    curve = progress_curve.read(path)
    assert curve.train == [(8, 1.0), (24, 0.4)]
    assert curve.validation == [(16, 0.5)]
    assert curve.restarts == [progress_curve.Restart(16, "a100", "a40")] and curve.restarts[0].moved
    assert curve.lr == [] and curve.clips_per_s == [(24, 5.5)]
    assert curve.smoothed() == [(8, 1.0), (24, 0.7)]
    many = [(8 * number, 1 / number) for number in range(1, 101)]
    windows = [many[max(0, end - max(3, end // 10)) : end] for end in range(1, 101)]
    means = [sum(loss for _, loss in window) / len(window) for window in windows]
    assert [loss for _, loss in progress_curve.Curve(many).smoothed()] == pytest.approx(means, rel=1e-12)
    whole = path.read_text()
    for half in ('{"kind": "trai', "{"):
        path.write_text(whole + half)
        assert progress_curve.read(path) == curve
    path.write_text(whole + '{"kind": "train", "clips_seen": 32}\n')
    with pytest.raises(UserError, match=r"progress.jsonl:7 is damaged \(KeyError\('loss'\)\)"):
        progress_curve.read(path)


@pytest.mark.parametrize(
    ("num_frames", "given", "expected"),
    [
        (30, range(2), [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29]),
        (30, (), [0, 3, 5, 8, 11, 13, 16, 18, 21, 24, 26, 29]),
        (12, range(2), list(range(12))),
        (16, range(8), [0, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        (16, range(8, 16), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15]),
        (30, (28, 29), [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29]),
        (30, (15,), [0, 3, 6, 8, 11, 14, 15, 18, 21, 23, 26, 29]),
        (30, range(0, 30, 4), [0, 1, 5, 7, 11, 14, 16, 18, 22, 25, 28, 29]),
        (30, (0, 29), [0, 1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 29]),
    ],
)
def test_a_strip_shows_the_given_frames_and_the_end(num_frames, given, expected):
    assert pictures.strip_indices(num_frames, given) == expected


def test_only_given_frames_have_a_border():
    frames = np.zeros((12, 20, 20, 3), np.uint8)
    figure = pictures.film_strip(
        [[pictures.StripRow("truth", frames, (0, 11)), pictures.StripRow("sample", frames, (5,))]]
    )
    (axes,) = figure.axes
    assert len(axes.patches) == 3
    lefts = sorted(patch.get_x() for patch in axes.patches)
    assert lefts[1] - lefts[0] == pytest.approx(5 / 11 * (lefts[2] - lefts[0]))


def test_a_row_that_is_shorter_than_the_others_ends_early():
    bright, dark = np.full((5, 20, 20, 3), 250, np.uint8), np.zeros((8, 20, 20, 3), np.uint8)
    figure = pictures.film_strip([[pictures.StripRow("truth", bright, ()), pictures.StripRow("sample", dark, ())]])
    (canvas,) = figure.axes[0].images
    above, below = np.vsplit(canvas.get_array()[:262], 2)
    assert [(row[62, 116 + 62 :: 131, 3] > 0).sum() for row in (above, below)] == [5, 8]
