"""A distance between sets stands with its number of clips and beside the floor that real clips give at that number."""

import numpy as np
import pytest

from results.frechet import frechet
from tests.results.conftest import make_run, smooth_clips
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
        assert "FVD is between halves of them" in text
    assert f"{found['real-against-real'].value:.1f}" in markdown


def test_the_floor_falls_with_the_number_of_clips():
    """Of one distribution: the mean over 20 draws of the distance between halves, as of the bias of the model's."""
    draw = np.random.default_rng(0)
    floors = []
    for num_clips in (32, 128, 512):
        sets = draw.standard_normal((20, num_clips, 40))
        floors.append(np.mean([frechet(rows[::2], rows[1::2]) for rows in sets]))
    assert floors[0] > 2 * floors[1] > 4 * floors[2] > 0
