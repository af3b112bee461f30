"""A run that the stage `train` has really trained, as preflight and the choice read it back."""

import os

import pytest

from tests.commands.looking import faults, look_here
from tests.jobs import ranks
from vdt_hpc.commands import history, run_state
from vdt_hpc.experiment.size import checkpoint_bytes

CLIPS = 60


@pytest.fixture
def trained(new_run):
    run = new_run(train__total_clips=CLIPS).write_latents()
    ranks.train(run.root, {"train__total_clips": CLIPS}, world_size=2, max_clips_per_gpu=4, peak_bf16_tflops=1.0)
    return run


def test_what_it_measured_is_found_again(trained):
    told = history.read(trained.paths.progress_log)
    assert told.speed("here", 2) > 0
    assert told.speed("here", 1) is None
    name, share = told.share_of_peak()
    assert name == "here"
    assert 0 < share < 1
    assert told.is_complete
    assert {(each.partition, each.world_size) for each in told.saves} == {("here", 2)}
    assert all(0 < each.durable_s < 60 for each in told.saves)
    assert history.largest_save(told.saves, 1) == pytest.approx(2 * history.largest_save(told.saves, 2))

    state = run_state.look(trained.config, trained.paths)
    assert (state.clips_seen, state.fault, state.damaged) == (CLIPS, "", ())
    assert [leg.partition for leg in state.legs] == ["here"]
    assert not faults(look_here(trained, "train"))
    size = sum(path.stat().st_size for path in state.newest.path.iterdir())
    assert 0 < size - checkpoint_bytes(trained.config) < 30_000  # headers and checkpoint.json


def test_a_newest_checkpoint_that_is_damaged_is_named(trained):
    newest = run_state.look(trained.config, trained.paths).newest.path
    os.truncate(next(newest.glob("ema-*.safetensors")), 10)
    found = look_here(trained, "train")
    assert found["run"].level == "ok"
    assert not faults(found)
    lines = run_state.look(trained.config, trained.paths).damaged
    assert len(lines) == 1
    assert str(newest) in lines[0]
