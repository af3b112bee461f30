"""What is remarked of a model: better than the ceiling, nearer than real clips, no better than copies, rows missing."""

import html

import pytest

from results import current
from results.tables import limits
from tests.results.made_tables import record
from vdt_hpc.store.records import read_records

BESIDE = {"autoencoder": 30.0, "real-against-real": 10.0, "copy-last-frame": 15.0}


def remarks(*records):
    (comparison,) = current.newest(records, 128)
    return limits.remarks(comparison)


def beside(metric="psnr", floor_clips=256, **changed):
    values = BESIDE | {name.replace("_", "-"): value for name, value in changed.items()}
    floor = {"real-against-real": {"floor_clips": floor_clips}}
    return [record(metric, value, subject=subject, **floor.get(subject, {})) for subject, value in values.items()]


@pytest.mark.parametrize(
    ("metric", "value", "others", "said"),
    [
        ("psnr", 25.0, {}, []), ("psnr", 30.0, {}, []), ("psnr", 9.0, {"copy_last_frame": 8.0}, []),
        ("psnr", 30.01, {}, ["VDT, run big: PSNR of 30.01 dB is better than that of the autoencoder's own "
                             "reconstruction, 30.00 dB"]),
        ("psnr", 15.0, {}, ["VDT, run big is no better than copied frames in PSNR."]),
        ("lpips", 0.2, {"autoencoder": 0.1, "copy_last_frame": 0.3}, []),
        ("lpips", 0.09, {"autoencoder": 0.1, "copy_last_frame": 0.3},
         ["VDT, run big: LPIPS of 0.090 is better than that of the autoencoder's own"]),
        ("fvd", 50.0, {"autoencoder": 20.0, "real_against_real": 40.0, "copy_last_frame": 90.0}, []),
        ("fvd", 39.0, {"autoencoder": 20.0, "real_against_real": 40.0, "copy_last_frame": 90.0},
         ["VDT, run big: FVD of 39.0 is below that of real clips against real ones, 40.0 between two sets of 256"]),
        ("fvd", 19.0, {"autoencoder": 20.0, "real_against_real": 30.0, "copy_last_frame": 10.0},
         ["VDT, run big: FVD of 19.0 is better than", "VDT, run big: FVD of 19.0 is below",
          "VDT, run big is no better than copied frames in FVD."]),
    ],
)  # fmt: skip
def test_only_what_passes_a_limit_is_remarked(metric, value, others, said):
    found = remarks(record(metric, value), *beside(metric, **others))
    assert [line[: len(start)] for line, start in zip(found, said, strict=True)] == said


@pytest.mark.parametrize(("metric", "floor_clips"), [("fvd", 128), ("fvd", None), ("fvd:pooled", 256)])
def test_a_distance_of_other_numbers_of_clips_is_no_floor(metric, floor_clips):
    """Of one distribution FVD is 122 between 128 and 128 clips, 75 between 256 and 256, 41 between 256 and 2,560."""
    values = {"autoencoder": 20.0, "real_against_real": 75.1, "copy_last_frame": 90.0}
    assert remarks(record(metric, 66.8, num_trajectories=10), *beside(metric, floor_clips, **values)) == []


def test_what_has_no_number_passes_no_limit():
    assert remarks(record("psnr", None, missing="no weights"), *beside()) == []
    missing = [record("psnr", None, missing="too few", subject=subject) for subject in BESIDE]
    assert remarks(record("psnr", 99.0), *missing) == []


def test_the_ceiling_is_decoded_as_the_samples_were():
    ceilings = [record("psnr", 30.0, subject="autoencoder"),
                record("psnr", 20.0, subject="autoencoder", decode_precision="bf16")]  # fmt: skip
    others = [one for one in beside() if one.subject != "autoencoder"]
    assert remarks(record("psnr", 25.0), *ceilings, *others) == []
    (said,) = remarks(record("psnr", 25.0, decode_precision="bf16"), *ceilings, *others)
    assert "reconstruction, 20.00 dB" in said


def test_rows_that_are_missing_are_named():
    (said,) = remarks(record("psnr", 25.0), record("psnr", 30.0, subject="autoencoder"))
    assert said == "Rows without a record: copy last frame and real against real; run the stage evaluate again."


def test_every_table_of_a_run_has_the_rows_beside_the_model_and_the_remarks(made_up):
    made_up.write_samples(made_up.samples[:, :1])
    made_up.write_samples(made_up.samples[:, :1], made_up.info("unconditional"))
    made_up.evaluate(metrics=("psnr", "ssim", "fvd"), protocols=("quick", "lab2024", "unconditional"))
    made_up.report()
    comparisons = current.newest(read_records(made_up.paths.records), 16)
    assert len(comparisons) == 5
    expected = ["model", "copy-last-frame", "autoencoder", "real-against-real"]
    assert [[row.subject for row in comparison.rows] for comparison in comparisons] == [expected] * 5
    said = "VDT, run made-up: PSNR of "  # noise on the truth is better than an autoencoder with random weights
    for name in ("results.md", "results.tex"):
        assert said in (made_up.paths.tables / name).read_text()
    assert said in html.unescape(made_up.paths.page.read_text())
    text = (made_up.paths.tables / "results.md").read_text()
    assert "Rows without a record" not in text
    for label, count in (("Copy last frame", 3), ("Copy given frame", 2), ("Autoencoder", 5), ("Real against real", 5)):
        assert text.count(f"\n| {label} (") == count


def test_rows_of_one_name_are_told_apart():
    ways = [record("psnr", 9.0, samples=f"set-{steps}", num_steps=steps) for steps in (10, 50)]
    assert remarks(*ways, *beside()) == [
        f"VDT, run big (DDIM, {steps} steps, 800,000 clips seen) is no better than copied frames in PSNR."
        for steps in (10, 50)
    ]
