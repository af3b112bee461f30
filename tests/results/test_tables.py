"""Published rows beside ours only where they may stand, every dash with its reason, the best marked."""

import csv
import io

import pandas as pd
import pytest

from results import current, published
from results.tables import lines, markdown
from tests.results.made_tables import LISTED, build, column, ranks, record, texts


def test_the_same_conditions_share_columns():
    (table,) = build([record("fvd", 111.25), record("ssim", 0.71234, interval_low=0.70, interval_high=0.73)])
    assert [c.conditions for c in table.columns] == ["cityscapes 128 px, 2to28"] * 3
    fvd = texts(table, "cityscapes 128 px, 2to28", "fvd")
    assert list(fvd) == [*LISTED, "VDT, run big"]
    assert fvd["SVG-LP"] == "1300.3" and fvd["VDT, run big"] == "111.2"
    own = table.rows[-1].cells[column(table, "cityscapes 128 px, 2to28", "ssim")]
    assert (own.text, own.interval) == ("0.712", "0.700 to 0.730")
    assert not any("alone" in note for note in table.footnotes)


@pytest.mark.parametrize(
    ("changes", "height"),
    [
        ({"dataset": "streets"}, 128), ({"protocol": "4to26"}, 128), ({}, 64), ({"given_frames": 4}, 128),
        ({"num_frames": 16}, 128),
    ],
)  # fmt: skip
def test_other_conditions_never_stand_in_published_columns(changes, height):
    (table,) = build([record("fvd", 111.25, **changes), record("ssim", 0.7, **changes)], height)
    ours = table.columns[-1].conditions
    theirs = "cityscapes 128 px, 2to28"
    assert table.groups() == [(theirs, 3), (ours, 2)]
    index = column(table, theirs, "fvd")
    assert table.rows[-1].cells[index].text == "–"
    assert "not compared" in table.footnotes[table.rows[-1].cells[index].footnote - 1]
    assert {row.cells[-1].text for row in table.rows[:-1]} == {"–"}
    assert texts(table, theirs, "fvd")["VDT"] == "142.3"


def test_every_dash_has_a_footnote_and_every_doubt_too():
    missing = "I3D weights not found: put i3d_torchscript.pt into the folder weights/ or into $VDT_HPC_WEIGHTS"
    (table,) = build([
        record("fvd", None, missing=missing, dataset="streets"),
        record("ssim", 0.7, dataset="streets"),
        record("ssim", 0.6, dataset="streets", subject="copy-last-frame"),
    ], 64)  # fmt: skip
    for row in table.rows:
        for cell in row.cells:
            assert (cell.text == "–") <= (cell.footnote is not None)
    assert missing in table.footnotes
    assert any("leave it out" in note for note in table.footnotes)  # copy-last-frame has no record of FVD
    assert sum("suspect" in note for note in table.footnotes) == 1
    text = markdown.to_markdown([table])
    for number, note in enumerate(table.footnotes, 1):
        assert f"{number}. {note}" in text
        assert f"({number})" in text


def test_a_metric_that_never_applies_takes_no_column():
    reason = "does not apply: an unconditional sample has no truth"
    same = {"task": "unconditional", "given_frames": 0}
    (table,) = build([record("fvd", 99.0, **same), record("ssim", None, missing=reason, **same)])
    assert [c.metric for c in table.columns] == ["fvd"]
    assert table.remarks == [f"SSIM: {reason}."]
    assert len(table.rows) == 1  # the published rows are of another task


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [
        ("prediction", (0, 1), "Prediction: 2 given frames, 28 generated"),
        ("prediction", (0,), "Prediction: 1 given frame, 29 generated"),
        ("backward", (28, 29), "Backward prediction: last 2 frames given, 28 generated"),
        ("backward", (29,), "Backward prediction: last frame given, 29 generated"),
        ("image_to_video", (0,), "Image to video: frame 0 given, 29 generated"),
        ("image_to_video", (7,), "Image to video: frame 7 given, 29 generated"),
        ("interpolation", tuple(range(0, 30, 4)), "Interpolation: every 4th frame given, 22 generated"),
        ("interpolation", tuple(range(0, 30, 2)), "Interpolation: every 2nd frame given, 15 generated"),
        ("completion", (0, 29), "Spatial-temporal completion: first and last frame given, blocks of the 28 between "
         "generated"),
        ("unconditional", (), "Unconditional generation: 30 frames"),
    ],
)  # fmt: skip
def test_the_title_says_what_is_given(task, given, said):
    usual = given == tuple(range(len(given)))
    same = {"task": task, "given_frames": len(given), "given": None if usual else given}
    (table,) = build([record("fvd", 99.0, **same), record("fvd", 120.0, subject="copy-last-frame", **same)])
    assert table.title == f"{said}; 256 test clips; protocol 2to28"
    shows_published = "SVG-LP" in [row.label for row in table.rows]
    assert shows_published == (task == "prediction")
    copied = table.rows[-1]
    assert (copied.label == "Copy last frame") == (task == "prediction")
    assert "last given frame again" in copied.detail or task != "prediction"


def test_the_newest_checkpoint_is_shown_and_history_stays_behind():
    older = {"samples": "set-old", "checkpoint": "clips-000400000", "clips_seen": 400_000}
    records = [
        record("ssim", 0.5, **older), record("ssim", 0.7), record("ssim", 0.72, samples="set-b", sampler="ddpm"),
        record("ssim", 0.6, subject="autoencoder"), record("ssim", 0.1, subject="autoencoder", num_clips=16),
    ]  # fmt: skip
    (table,) = build(records)
    assert [row.cells[1].text for row in table.rows[len(LISTED) :]] == ["0.700", "0.720", "0.600"]


def test_the_csv_is_tidy_and_not_rounded():
    records = [record("ssim", 0.7123456789), record("fvd", None, missing="no weights")]
    text = lines.to_csv(current.newest(records, 128), published.load(), build(records))
    frame = pd.read_csv(io.StringIO(text))
    assert len(frame) == 9 * 2 + 5 * 3 + 2 * 2 + 2
    assert set(frame["better"]) == {"up", "down"}
    own = frame[frame["kind"] == "model"].set_index("metric")
    assert own.loc["ssim", "value"] == 0.7123456789 and own.loc["ssim", "rank"] == 4
    assert own.loc["fvd", "missing"] == "no weights" and pd.isna(own.loc["fvd", "value"])
    assert own.loc["ssim", "latents_fingerprint"] == "f00"
    real = record("fvd", 9.5, subject="real-against-real", floor_clips=128)
    by_row = csv.DictReader(io.StringIO(lines.to_csv(current.newest([*records, real], 128), published.load(), [])))
    assert {line["floor_clips"] for line in by_row} == {"", "128"}
    others = frame[frame["kind"] == "published"].set_index(["method", "metric"])
    assert others.loc[("VDT979", "fvd-lab"), "value"] == others.loc[("VDT979", "fvd"), "value"] == 1607.1
    assert others.loc[("VDT979", "fvd-lab"), "protocol"] == "lab2024"
    assert others.loc[("GHVAE", "fvd"), "value"] == 418.0
    assert others.loc[("STDiff", "lpips"), "value"] == 0.13626 and others.loc[("STDiff", "lpips"), "rank"] == 2
    assert others.loc[("STDiff", "fvd"), "num_trajectories"] == 10
    assert others.loc[("SyncVP RGB+depth", "fvd"), "rank"] == 1
    assert pd.isna(others.loc[("VDT", "ssim"), "rank"]) and "suspect" in others.loc[("VDT", "ssim"), "doubt"]
    assert "Lanczos" in others.loc[("MCVD-concat", "fvd"), "protocol_facts"]


def test_best_and_second_are_among_methods_alone():
    beside = [
        record(name, value, subject=subject)
        for subject in ("autoencoder", "real-against-real", "copy-last-frame")
        for name, value in (("fvd", 1.0), ("ssim", 0.99))
    ]
    (table,) = build([record("fvd", 90.0), record("ssim", 0.7451), *beside])
    assert ranks(table, "fvd") == {"SyncVP RGB+depth": 1, "VDT, run big": 2}
    assert ranks(table, "ssim") == {"ExtDM-K4": 1, "VDT, run big": 1, "GHVAE": 2}  # as shown, they are equal
    assert {row.cells[0].rank for row in table.rows if row.kind == "reference"} == {None}
    text = markdown.to_markdown([table])
    assert "| **84.0** |" in text and "<u>90.0</u>" in text and "**Bold**" in text


def test_a_number_alone_is_not_the_best():
    (table,) = build(
        [record("fvd", 90.0, dataset="streets"), record("fvd", 80.0, dataset="streets", subject="autoencoder")]
    )
    assert table.rows[-2].cells[-1].rank is None
    (table,) = build([record("fvd", 90.0, task="backward", given=(28, 29))])
    assert not table.is_ranked and "Bold" not in markdown.to_markdown([table])


def test_tasks_stand_in_the_order_of_the_configuration():
    records = [
        record("fvd", 99.0, task="backward", given=(28, 29)), record("fvd", 98.0, task="interpolation", given=(0, 4)),
        record("fvd", 97.0),
    ]  # fmt: skip
    assert [table.title.split(":")[0] for table in build(records)] == [
        "Prediction", "Backward prediction", "Interpolation",
    ]  # fmt: skip
