"""Numbers that the same thing measured, by the weights that everybody uses, or a remark that they were not."""

import hashlib

import pytest

from results import current
from results.tables import same_measure
from tests.results.made_tables import record
from vdt_hpc.experiment import weights_table
from vdt_hpc.store.records import read_records

ALEXNET = "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"


def remarks(*records):
    (comparison,) = current.newest(records, 128)
    return same_measure.remarks(comparison)


def of(sha256, definition="d", **changes):
    return record("lpips", 0.2, definition=definition, weights_sha256=sha256, **changes)


def test_the_published_weights_are_nothing_to_remark():
    known = [file.sha256 for entry in weights_table.load().weights for file in entry.files]
    assert ALEXNET in known
    assert remarks(of(ALEXNET), of(ALEXNET, subject="autoencoder"), record("psnr", 20.0)) == []


def test_other_weights_are_told_with_their_sha256():
    (told,) = remarks(of("ab" * 32), of("ab" * 32, subject="autoencoder"))
    assert told == (
        f"LPIPS: measured by weights of SHA-256 {'ab' * 8}…, which are not those of configs/weights.yaml: the numbers "
        "compare with none that others have published."
    )


@pytest.mark.parametrize(("sha256", "definition"), [(ALEXNET, "other"), ("ab" * 32, "d")])
def test_rows_that_were_measured_in_two_ways_do_not_compare(sha256, definition):
    found = remarks(of(ALEXNET), of(sha256, definition, subject="autoencoder"))
    assert found[0].startswith("LPIPS: the rows were measured by different definitions of it or by different weights")


def test_exchanged_weights_measure_anew_and_are_traced(made_up, tiny_i3d, tmp_path):
    """The stand-in is in the place of I3D, which the record, the table and what is behind the number say."""
    tiny_i3d()
    file = tmp_path / "weights" / "i3d_torchscript.pt"
    info = made_up.write_samples(made_up.samples[:, :1])
    made_up.evaluate(metrics=("fvd", "psnr"))
    first = {(r.subject, r.metric): r for r in read_records(made_up.paths.records)}
    assert first["model", "fvd"].weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert first["model", "psnr"].weights_sha256 is None
    assert "already measured" in made_up.evaluate(metrics=("fvd", "psnr")).summary
    file.write_bytes(file.read_bytes() + b"x" * 10)  # a zip whose end was searched for: the same network
    assert "put 4 of 8 records down" in made_up.evaluate(metrics=("fvd", "psnr")).summary
    second = {(r.subject, r.metric): r for r in read_records(made_up.paths.records)}
    assert second["model", "fvd"].weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert second["model", "psnr"] == first["model", "psnr"]
    kept = made_up.paths.samples / info.name / "measures" / "model"
    assert sorted(path.name for path in kept.iterdir()) == ["fvd-00000.h5", "psnr-00000.h5"]
    made_up.report()
    said = f"FVD: measured by weights of SHA-256 {second['model', 'fvd'].weights_sha256[:16]}…, which are not those of"
    html = made_up.paths.page.read_text()
    assert said in html
    assert said in (made_up.paths.tables / "results.md").read_text()
    assert f"SHA-256 {second['model', 'fvd'].weights_sha256}</dd>" in html


def test_weights_that_are_gone_leave_what_was_measured(made_up, tiny_i3d, tmp_path):
    tiny_i3d()
    made_up.write_samples(made_up.samples[:, :1])
    made_up.evaluate(metrics=("fvd",))
    before = read_records(made_up.paths.records)
    (tmp_path / "weights" / "i3d_torchscript.pt").unlink()
    assert "already measured" in made_up.evaluate(metrics=("fvd",)).summary
    assert read_records(made_up.paths.records) == before
