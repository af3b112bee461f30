"""A distance between sets stands with its number of clips and beside the floor that real clips give at that number."""

import numpy as np
import pytest

from results.frechet import frechet
from results.subjects import real_sides
from tests.results.conftest import make_run, smooth_clips
from vdt_hpc.experiment import protocol
from vdt_hpc.store.measures import Measures
from vdt_hpc.store.records import read_records


@pytest.mark.parametrize("num_clips", [4, 5])
def test_the_floor_is_between_every_other_clip(made_up, tiny_i3d, tmp_path, random_autoencoder, num_clips):
    tiny_i3d()
    run = make_run(tmp_path / "set", smooth_clips(num_clips), random_autoencoder)
    info = run.write_samples(run.frames[:, None] ^ 8)
    run.evaluate(metrics=("fvd",))
    found = {record.subject: record for record in read_records(run.paths.records)}
    assert {record.num_clips for record in found.values()} == {num_clips}
    truth = Measures(run.paths.samples / info.name).read("truth", "fvd", 1)[:, 0]
    halves = truth[[0, 2]], truth[[1, 3]]  # of five clips the last has no partner
    assert found["real-against-real"].value == pytest.approx(frechet(*halves), rel=1e-12)
    assert found["real-against-real"].interval_low is None
    run.report()
    markdown = (run.paths.tables / "results.md").read_text()
    for text in (markdown, run.paths.page.read_text()):
        assert f"{num_clips} test clips" in text
        assert f"between two sets of {num_clips // 2} real clips" in text
    assert f"{found['real-against-real'].value:.1f}" in markdown


def test_the_floor_falls_with_the_number_of_clips():
    """Of one distribution: the mean over 20 draws of the distance between halves, as of the bias of the model's."""
    draw = np.random.default_rng(0)
    floors = []
    for num_clips in (32, 128, 512):
        sets = draw.standard_normal((20, num_clips, 40))
        floors.append(np.mean([frechet(rows[::2], rows[1::2]) for rows in sets]))
    assert floors[0] > 2 * floors[1] > 4 * floors[2] > 0


@pytest.mark.parametrize(
    ("clips", "num_clips", "expected"),
    [
        (range(6), 6, ([0, 2, 4], [1, 3, 5])),
        (range(5), 5, ([0, 2], [1, 3])),
        ([0, 3, 6, 9], 10, ([0, 3, 6, 9], [1, 4, 5, 8])),  # of the six others four, evenly
        ([0, 2, 4], 5, ([0], [2])),
    ],
)
def test_real_clips_are_set_against_as_many_others_where_there_are_so_many(clips, num_clips, expected):
    one, other = real_sides(clips, num_clips)
    assert (one, other) == expected
    assert not set(one) & set(other) and len(one) == len(other)


def test_the_floor_of_some_clips_is_at_their_number(made_up, tiny_i3d, tmp_path, random_autoencoder, monkeypatch):
    """A protocol of two clips of five: the floor is between these two and two others, not between one and one."""
    tiny_i3d()
    folder = tmp_path / "protocols"
    folder.mkdir()
    (folder / "two.yaml").write_text("{name: two, title: ours, clips: spread, num_clips: 2, metrics: [fvd]}")
    monkeypatch.setattr(protocol, "FOLDER", folder)
    run = make_run(tmp_path / "set", smooth_clips(5), random_autoencoder)
    info = run.write_samples(run.frames[:, None] ^ 8)
    run.evaluate(metrics=(), protocols=("two",))
    (floor,) = [one for one in read_records(run.paths.records) if one.subject == "real-against-real"]
    assert (floor.num_clips, floor.floor_clips) == (2, 2)
    truth = Measures(run.paths.samples / info.name).read("truth", "fvd", 1)[:, 0]
    assert floor.value == pytest.approx(frechet(truth[[0, 4]], truth[[1, 3]]), rel=1e-12)
