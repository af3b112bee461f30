"""Records: a number or a reason, merged by what they measure, whole or not at all."""

import json
from dataclasses import asdict, replace

import pytest

from vdt_hpc.errors import UserError
from vdt_hpc.store.records import Record, merge_records, read_records


@pytest.fixture
def record():
    return Record(
        run="r", dataset="d", subject="model", task="prediction", protocol="2to28", metric="ssim", value=0.5,
        missing=None, interval_low=0.4, interval_high=0.6, num_clips=4, num_trajectories=1, num_frames=30,
        given_frames=2, sampler="ddim", num_steps=50, seed=0, checkpoint="clips-000000008", clips_seen=8,
        samples="s", latents_fingerprint="f", code_commit="c",
    )  # fmt: skip


def test_a_record_has_a_number_or_a_reason(record):
    for changes in ({"missing": "why"}, {"value": None}):
        with pytest.raises(ValueError, match="either a value or the reason"):
            replace(record, **changes)
    for value in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match="finite"):
            replace(record, value=value)
    assert replace(record, value=None, missing="why").missing == "why"


def test_reading_returns_what_was_written(tmp_path, record):
    path = tmp_path / "run" / "records.jsonl"
    assert read_records(path) == []
    backward = replace(record, task="backward", given=(28, 29))
    assert merge_records(path, [record, backward]) == [record, backward]
    assert read_records(path) == [record, backward]
    assert [one.given_indices for one in read_records(path)] == [(0, 1), (28, 29)]


def test_records_from_before_the_other_tasks_are_read(tmp_path, record):
    content = asdict(record)
    del content["given"]
    (tmp_path / "records.jsonl").write_text(json.dumps(content) + "\n")
    assert read_records(tmp_path / "records.jsonl") == [record]


def test_the_newer_record_of_the_same_thing_counts(tmp_path, record):
    path = tmp_path / "records.jsonl"
    other = replace(record, metric="psnr", value=20.0)
    merge_records(path, [record, other])
    assert merge_records(path, [replace(record, value=0.7)]) == [replace(record, value=0.7), other]
    assert len(read_records(path)) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "autoencoder"}, {"task": "unconditional"}, {"protocol": "p"}, {"metric": "fvd"}, {"samples": "t"},
        {"latents_fingerprint": "g"}, {"num_clips": 5}, {"num_frames": 16}, {"given_frames": 4}, {"run": "q"},
        {"given": (4, 5)},
    ],
)  # fmt: skip
def test_other_conditions_are_other_records(tmp_path, record, changes):
    merged = merge_records(tmp_path / "records.jsonl", [record, replace(record, **changes)])
    assert len(merged) == 2


def test_a_damaged_line_is_named_and_nothing_is_lost(tmp_path, record):
    path = tmp_path / "records.jsonl"
    merge_records(path, [record])
    path.write_text(path.read_text() + '{"run": "half')
    text = path.read_text()
    with pytest.raises(UserError, match=r"records.jsonl:2 is damaged"):
        merge_records(path, [record])
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda line: b"", "Invalid JSON"),
        (lambda line: b"[" + line + b"]", "Input should be an object"),
        (lambda line: line + line, "Invalid JSON"),
        (lambda line: line.replace(b'"run": "r"', b'"run": "\xff"'), "Invalid JSON"),
        (lambda line: line.replace(b'"run": "r", ', b""), "run: "),
        (lambda line: line.replace(b'"run"', b'"rum": "r", "run"'), "rum: "),
        (lambda line: line.replace(b'"num_clips": 4', b'"num_clips": "4"'), "num_clips: "),
        (lambda line: line.replace(b'"num_clips": 4', b'"num_clips": 4.5'), "num_clips: "),
        (lambda line: line.replace(b'"value": 0.5', b'"value": NaN'), "a record needs a finite number"),
        (lambda line: line.replace(b'"value": 0.5', b'"value": null'), "either a value or the reason"),
        (lambda line: line.replace(b'"task": "prediction"', b'"task": "guessing"'), "task: "),
        (lambda line: line.replace(b'"given": null', b'"given": ["2"]'), "given.0: "),
    ],
)
def test_whatever_is_wrong_with_a_line_is_one_line(tmp_path, record, change, said):
    path = tmp_path / "records.jsonl"
    line = json.dumps(asdict(record)).encode()
    path.write_bytes(line + b"\n" + change(line) + b"\n")
    with pytest.raises(UserError, match=r"records.jsonl:2 is damaged \(") as caught:
        read_records(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_records_that_cannot_be_read_are_one_line(tmp_path):
    (tmp_path / "records.jsonl").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*records.jsonl: Is a directory"):
        read_records(tmp_path / "records.jsonl")
