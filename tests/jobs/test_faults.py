"""Numbers that are not finite, and memory that does not suffice, on one rank of two: all ranks do the same about it."""

import re

import pytest
import torch

from tests.jobs import aftermath, made_up
from tests.jobs.ranks import Ranks, train
from vdt_hpc.store import checkpoint

EXACT = {"train__precision": "fp64"}


def faulty(root, fault, **changes):
    return Ranks(root, changes, 2, before=f"tests.jobs.hooks:{fault}")


def errors(job):
    """The line that all ranks end with."""
    outcomes = job.outcomes(60)
    assert outcomes[0] == outcomes[1], (outcomes, job.said())
    assert [process.exitcode for process in job.processes] == [0, 0]
    return outcomes[0]["error"]


def assert_complete(job):
    outcomes = job.outcomes(60)
    assert [outcome.get("complete") for outcome in outcomes] == [True, True], (outcomes, job.said())
    weights = [(job.folder / f"{rank}.weights").read_text() for rank in (0, 1)]
    assert weights[0] == weights[1]


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """The undisturbed run of two ranks, in double precision."""
    root, run = tmp_path_factory.mktemp("exact"), made_up.config(**EXACT)
    paths = made_up.write_latents(run, made_up.partition(root))
    train(root, EXACT, 2)
    return aftermath.final_state(paths)


def test_a_gradient_that_is_not_a_number_on_one_rank_is_skipped_by_all(tmp_path):
    run = made_up.config()
    paths = made_up.write_latents(run, made_up.partition(tmp_path))
    job = faulty(tmp_path, "nan_once_on_rank_1")
    assert_complete(job)
    assert job.said().count("skipped: its loss or gradient is not finite") == 1
    assert "update to clip 18 skipped" in job.said()
    skipped = {line["clips_seen"]: line["skipped_updates"] for line in aftermath.log_lines(paths, "train")}
    assert [skipped[clips] for clips in (12, 18, 60)] == [0, 1, 1]
    for tensors in aftermath.final_state(paths).values():
        assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_gradients_that_stay_not_a_number_end_the_run(tmp_path):
    changes = {"train__max_bad_updates": 3}
    run = made_up.config(**changes)
    paths = made_up.write_latents(run, made_up.partition(tmp_path))
    said = errors(faulty(tmp_path, "nan_from_the_fifth_on_rank_1", **changes))
    assert "3 updates in a row, up to clip 42, had a loss or gradient that is not finite" in said
    found = aftermath.newest(paths)
    assert f"the last good checkpoint is {found.path};" in said
    for part in checkpoint.PARTS:
        assert all(tensor.isfinite().all() for tensor in found.load(part).values())
    aftermath.assert_tidy(paths)
    train(tmp_path, changes, 2)
    assert aftermath.newest(paths).clips_seen == 60


def test_weights_that_are_infinite_are_not_published(tmp_path):
    run = made_up.config()
    paths = made_up.write_latents(run, made_up.partition(tmp_path))
    said = errors(faulty(tmp_path, "infinite_weight"))
    assert said.startswith(
        "x_embedder.proj.weight is no longer finite at clip 54, so nothing was saved; lower optim.lr"
    )
    assert aftermath.newest(paths).clips_seen == 36
    aftermath.assert_tidy(paths)
    train(tmp_path, {}, 2)
    assert aftermath.newest(paths).clips_seen == 60


@pytest.mark.parametrize("fault", ["no_memory_forward", "no_memory_backward"])
def test_too_little_memory_on_one_rank_changes_nothing_but_the_pace(tmp_path, exact, fault):
    run = made_up.config(**EXACT)
    paths = made_up.write_latents(run, made_up.partition(tmp_path))
    job = faulty(tmp_path, fault, **EXACT)
    assert_complete(job)
    halvings = [line for line in job.said(1).splitlines() if line.startswith("out of memory on task 1")]
    assert [line.split(";")[0] for line in halvings] == [
        f"out of memory on task 1 with {tried} clips at once: going on with {next_try} at once and more accumulation"
        for tried, next_try in ((3, 2), (2, 1))
    ]
    assert "out of memory" not in job.said(0)
    if fault == "no_memory_backward":
        found = re.search(r"no memory for 3 clips, (\d+) of (\d+) buckets sent", job.said(1))
        assert 3 <= int(found[1]) < int(found[2])
    state = aftermath.final_state(paths)
    for part, tensors in exact.items():
        for name, tensor in tensors.items():
            torch.testing.assert_close(state[part][name], tensor, rtol=1e-9, atol=1e-12, msg=f"{part} {name}")


def test_a_clip_that_does_not_fit_is_one_line_on_every_rank(tmp_path):
    run = made_up.config()
    paths = made_up.write_latents(run, made_up.partition(tmp_path))
    said = errors(faulty(tmp_path, "no_memory_at_all"))
    assert said.startswith("out of memory on task 1 with a single clip; use a partition with more memory")
    assert aftermath.newest(paths).clips_seen == 18
    aftermath.assert_tidy(paths)
    train(tmp_path, {}, 2)
    assert aftermath.newest(paths).clips_seen == 60
