"""Published rows exactly, in groups; which of them stand in which of our tables."""

import pytest

from results import current, published
from tests.results.made_tables import LAB, LISTED, MAIN, build, ranks, record, texts
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import protocol


def test_the_published_rows_are_exact():
    rows = published.load()[0].rows
    listed = {
        row.method: tuple(row.values[name] for name in ("fvd", "ssim", "lpips") if name in row.values) for row in rows
    }
    assert listed == LISTED and list(listed) == list(LISTED)
    assert all(row.source and row.listed_in for row in rows)
    assert {row.listed_in for row in rows[:9]} == {"table 1 of the lab report"}
    assert {row.method for row in rows if row.doubts} == {"VDT", "VDT979", "VDT1124", "NPVP"}
    assert set(rows[-1].doubts) == set(rows[-1].values)


def test_the_labs_rows_are_those_of_its_table_by_other_names():
    main, lab = published.load()
    assert (main.conditions, lab.conditions) == (MAIN, LAB)
    same = {row.method: row for row in main.rows}
    assert [row.method for row in lab.rows] == ["VDT979", "VDT1124"]
    for row in lab.rows:
        other = same[row.method]
        assert row.values == {"fvd-lab": other.values["fvd"], "ssim-lab": other.values["ssim"]}
        assert (row.source, row.listed_in, row.protocol) == (other.source, other.listed_in, other.protocol)
    assert set(lab.metrics) <= set(protocol.load(lab.protocol).metrics)
    assert "30 frames with 2 given" in lab.caution and "mini-batches of 16 clips or of 6" in lab.rows[0].protocol.text


def test_what_a_protocol_does_not_state_is_said():
    by_method = {row.method: row.protocol.text for row in published.load()[0].rows}
    assert by_method["VDT"].startswith("protocol: clips, trajectories, SSIM's colours")
    assert by_method["VDT"].endswith("and resize filter not stated")
    assert by_method["MCVD-concat"] == (
        "protocol, from MCVD's code: 256 clips; 10 trajectories: FVD the mean, SSIM and LPIPS of the best; grey SSIM; "
        "FVD of 30 frames; Lanczos filter"
    )
    assert "FVD of chunks of 16 and 14 frames" in by_method["SyncVP RGB"]
    assert by_method["STDiff"].endswith("its committed code cuts the frames of SSIM and LPIPS to 17")
    assert "one trajectory; colour SSIM" in by_method["VDT979"]


def test_published_numbers_are_typed(tmp_path):
    text = published.FILE.read_text()
    for wrong, said in (
        (text.replace("ssim: 0.574", "ssim: high"), "values.ssim"),
        (text.replace("caution:", "causion:", 1), "did you mean caution"),
        (text.replace("{fvd: 142.3, ssim: 0.880}", "{fvd: 142.3}"), "doubt about ssim, but no number"),
        (text.replace("ssim_colours: grey", "ssim_colours: gray"), "expected 'grey' or 'colour'"),
        (text.replace("resize_filter: Lanczos filter\n", "\n"), "resize_filter"),
        (text.replace("over_trajectories: mean", "over_trajectory: mean"), "did you mean fvd_over_trajectories"),
        (text.replace("  trajectories: 10\n", "  trajectories: 1\n", 1), "neither a mean nor a best"),
        (text.replace("method: NPVP", "method: STDiff"), "STDiff stands in two rows"),
        (text.replace("protocol: lab2024", "protocol: 2to28"), f"prediction on {MAIN} has two groups"),
        (text.replace("ssim-lab:", "ssim-lub:"), "unknown metric 'ssim-lub'"),
    ):
        path = tmp_path / "published.yaml"
        path.write_text(wrong)
        with pytest.raises(UserError, match=said) as caught:
            published.load(path)
        assert "\n" not in str(caught.value)


def test_the_labs_rows_share_the_columns_of_its_protocol():
    same = {"protocol": "lab2024", "num_clips": 1525}
    numbers = [("fvd-lab", 1400.26), ("ssim-lab", 0.4105), ("psnr-lab", 14.0)]
    (table,) = build([record(name, value, **same) for name, value in numbers])
    assert table.groups() == [(LAB, 3)]
    assert texts(table, LAB, "fvd-lab") == {"VDT979": "1607.1", "VDT1124": "1555.7", "VDT, run big": "1400.3"}
    assert texts(table, LAB, "ssim-lab") == {"VDT979": "0.406", "VDT1124": "0.402", "VDT, run big": "0.410"}
    assert set(texts(table, LAB, "psnr-lab").values()) == {"–", "14.00"}
    assert ranks(table, "fvd-lab") == {}  # the lab's are of batches of nobody knows which size
    assert ranks(table, "ssim-lab") == {"VDT, run big": 1, "VDT979": 2}
    assert table.remarks[0] == "From table 1 of the lab report: VDT979 and VDT1124."
    assert "Not known of theirs" in table.remarks[1] and len(table.remarks) == 2


@pytest.mark.parametrize("changes", [{"given_frames": 8}, {"num_frames": 16}])
def test_the_lab_protocol_on_other_frames_has_columns_of_its_own(changes):
    (table,) = build([record("ssim-lab", 0.41, protocol="lab2024", **changes)])
    assert [name for name, _ in table.groups()] == [LAB, table.columns[-1].conditions]
    assert table.columns[-1].conditions.startswith(f"{LAB} with ")
    assert texts(table, LAB, "ssim-lab")["VDT, run big"] == "–"
    assert {row.cells[-1].text for row in table.rows[:2]} == {"–"}


@pytest.mark.parametrize(
    ("changes", "own", "shown"),
    [
        ({}, "2to28", [MAIN]), ({"protocol": "lab2024"}, "2to28", [LAB]), ({"protocol": "quick"}, "2to28", [MAIN]),
        ({"dataset": "streets"}, "2to28", [MAIN]), ({"dataset": "streets", "protocol": "lab2024"}, "2to28", []),
        ({"dataset": "streets", "protocol": "quick"}, "2to28", []), ({"task": "backward", "given": (28, 29)}, "", []),
        ({"dataset": "streets", "protocol": "2to10"}, "2to10", [MAIN]), ({"protocol": "4to26"}, "", [MAIN]),
    ],
)  # fmt: skip
def test_which_groups_stand_in_which_tables(changes, own, shown):
    (comparison,) = current.newest([record("fvd", 1.0, **changes)], 64)
    assert [group.conditions for group in published.beside(comparison, published.load(), own)] == shown


def test_the_group_of_the_same_data_set_comes_before_the_first():
    main, lab = published.load()
    others = main.model_copy(update={"dataset": "kitti"})
    (comparison,) = current.newest([record("fvd", 1.0, dataset="kitti", protocol="quick")], 64)
    assert published.beside(comparison, [main, lab, others]) == [others]
