"""Training is the same on any number of ranks, in micro-batches of any size, and when a run moves between them."""

import hashlib
import os
import random
import re
import signal
import time
from collections import defaultdict

import numpy as np
import pytest

from tests.jobs import aftermath, made_up
from tests.jobs.ranks import Ranks
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.model import vdt

BATCH = 11
"""Uneven on 2, 3 and 4 ranks."""
TOTAL = 64 * BATCH
WORLD_SIZES = (1, 2, 3, 4)
LIMITS = (1, 2, 3, 4, 5)
COMMON = {
    "batch__global_clips": BATCH,
    "train__total_clips": TOTAL,
    "train__checkpoint_every_clips": 8 * BATCH,
    "train__log_every_clips": BATCH,
    "train__val_every_clips": 32 * BATCH,
}
DOUBLE = {**COMMON, "train__precision": "fp64"}
SINGLE = {**COMMON, "train__precision": "fp32"}
BEFORE = "tests.jobs.test_elastic:tell_draws"
DRAWN = re.compile(r"^drawn (\S+) (\d+) ([0-9a-f]{64})$", re.MULTILINE)


def tell_draws():
    """Called in every rank: each training example that is prepared is told in the rank's log, with its hash."""
    from jobs import examples

    prepare = examples.prepare

    def telling(config, moments, chosen):
        batch = prepare(config, moments, chosen)
        for example, *arrays in zip(batch.examples, batch.clean, batch.noise, batch.masks, strict=True):
            line = f"\ndrawn {config.name} {example.position} {hash_of(example, arrays)}\n"
            os.write(1, line.encode())  # one call, since several threads prepare examples
        return batch

    examples.prepare = telling


def tell_draws_slowly():
    """As `tell_draws`, with time to stop a run before its end."""
    tell_draws()
    from jobs import examples

    prepare = examples.Share.prepare
    examples.Share.prepare = lambda *arguments: (time.sleep(0.15), prepare(*arguments))[1]


def hash_of(example, arrays):
    """Of everything that is drawn for an example."""
    drawn = (example.position, example.clip, example.start_frame, example.flip, example.task, example.given_frames)
    digest = hashlib.sha256(repr((*drawn, example.time, example.purpose)).encode())
    for array in arrays:
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Trained:
    """Runs that have been trained to the end, and what they drew: name -> position -> hashes."""

    def __init__(self, root):
        self.root = root
        self.drawn = defaultdict(lambda: defaultdict(set))
        made_up.write_latents(made_up.config(**DOUBLE), made_up.partition(root))

    def paths(self, name, changes=DOUBLE):
        return paths_for(made_up.config(**changes, name=name), made_up.partition(self.root))

    def start(self, runs, world_size, before=BEFORE):
        """Start ranks that train runs one after the other: [(name, changes, limit)]."""
        first, *then = [({**changes, "name": name}, {"max_clips_per_gpu": limit}) for name, changes, limit in runs]
        return Ranks(self.root, first[0], world_size, before=before, then=then, **first[1])

    def finish(self, ranks):
        outcomes = ranks.outcomes()
        self.note(ranks)
        assert all(ended and ended.get("complete") for ended in outcomes), (outcomes, ranks.said()[-3000:])

    def note(self, ranks):
        for rank in range(len(ranks.processes)):
            for name, position, found in DRAWN.findall(ranks.said(rank)):
                self.drawn[name][int(position)].add(found)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The reference runs: one rank, the whole batch at once."""
    trained = Trained(tmp_path_factory.mktemp("elastic"))
    trained.finish(trained.start([("whole", DOUBLE, BATCH), ("whole-fp32", SINGLE, BATCH)], 1))
    return trained


@pytest.fixture(scope="module", params=WORLD_SIZES, ids=lambda size: f"{size}-ranks")
def spread(request, trained):
    """All runs of one world size have been trained; returns its number."""
    runs = [(f"{request.param}-{limit}", DOUBLE, limit) for limit in LIMITS]
    ranks = trained.start([*runs, (f"{request.param}-fp32", SINGLE, 2)], request.param)
    trained.finish(ranks)
    return request.param


def assert_same_draws(trained, name):
    """Every position of the run has been drawn, always with the same hash, which is the reference's."""
    assert trained.drawn[name] == trained.drawn["whole"]
    assert all(len(hashes) == 1 for hashes in trained.drawn[name].values())


def assert_close(trained, name, reference, changes, tolerance):
    """Weights, average and moments are within a relative L2 distance of the reference's; returns the distances."""
    states = [aftermath.final_state(trained.paths(which, changes)) for which in (name, reference)]
    found = aftermath.distances(*states)
    assert max(found.values()) <= tolerance, found
    return found


def largest_deviation(first, second):
    """Of two curves, relative."""
    assert first.keys() == second.keys()
    return max(abs(first[clips] - second[clips]) / abs(second[clips]) for clips in second)


def assert_curves_lie_on_each_other(paths, reference, tolerance):
    for kind, value in (("train", "loss"), ("train", "grad_norm"), ("validation", "val_loss")):
        curves = [aftermath.curve(which, kind, value) for which in (paths, reference)]
        assert len(curves[1]) == (64 if kind == "train" else 2)
        deviation = largest_deviation(*curves)
        print(f"{paths.run.name}: {value} deviates by at most {deviation:.1e}")
        assert deviation <= tolerance


def test_the_reference_draws_each_position_and_learns(trained):
    assert sorted(trained.drawn["whole"]) == list(range(TOTAL))
    assert trained.drawn["whole-fp32"] == trained.drawn["whole"]
    assert len(set.union(*trained.drawn["whole"].values())) == TOTAL
    paths = trained.paths("whole")
    state = aftermath.final_state(paths)["model"]
    initial = vdt.build(paths.config, paths.config.seed).state_dict()
    for name, tensor in initial.items():
        if name.endswith("weight") and "y_embedder" not in name:
            assert (state[name] - tensor).norm() > 0.01 * tensor.norm(), name
    losses = list(aftermath.curve(paths, "train", "loss").values())
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


def test_examples_do_not_depend_on_ranks_or_micro_batches(trained, spread):
    for limit in LIMITS:
        assert_same_draws(trained, f"{spread}-{limit}")
    assert_same_draws(trained, f"{spread}-fp32")


def test_in_double_precision_all_spreads_compute_the_same(trained, spread):
    for limit in LIMITS:
        found = assert_close(trained, f"{spread}-{limit}", "whole", DOUBLE, 1e-9)
        print(f"{spread} ranks, {limit} at once:", {name: f"{value:.1e}" for name, value in found.items()})
        (start,) = aftermath.log_lines(trained.paths(f"{spread}-{limit}"), "start")
        assert start["world_size"] == spread


def test_in_single_precision_the_curves_lie_on_each_other(trained, spread):
    found = assert_close(trained, f"{spread}-fp32", "whole-fp32", SINGLE, 1e-3)
    print(f"{spread} ranks, fp32:", {name: f"{value:.1e}" for name, value in found.items()})
    paths = [trained.paths(name, SINGLE) for name in (f"{spread}-fp32", "whole-fp32")]
    assert_curves_lie_on_each_other(*paths, 1e-5)


def one_leg(trained, name, changes, world_size, until, number):
    """Train until beyond a position, then send a signal to all ranks."""
    paths = trained.paths(name, changes)
    until = max(until, aftermath.newest_clips(paths) + BATCH)
    ranks = trained.start([(name, changes, 2)], world_size, before="tests.jobs.test_elastic:tell_draws_slowly")
    ranks.wait_for(lambda: any(line["clips_seen"] >= until for line in aftermath.log_lines(paths, "train")))
    ranks.kill(number)
    outcomes = ranks.outcomes()
    trained.note(ranks)
    if number == signal.SIGKILL:
        assert outcomes == [None] * world_size
    else:
        assert [ended.get("complete") for ended in outcomes] == [False] * world_size, outcomes
        assert "stopped by SIGTERM" in outcomes[0]["summary"]


@pytest.mark.parametrize(
    ("name", "changes", "tolerance"), [("moved", DOUBLE, 1e-9), ("moved-fp32", SINGLE, 1e-3)], ids=["fp64", "fp32"]
)
def test_a_run_moves_from_4_to_2_to_3_to_1_ranks(trained, name, changes, tolerance):
    draw = random.Random(seed := random.randrange(10**6))
    stops = [BATCH * draw.randrange(first, first + 12) for first in (2, 18, 34)]
    print(f"seed {seed}: stopped at {stops}")
    one_leg(trained, name, changes, 4, stops[0], signal.SIGTERM)
    one_leg(trained, name, changes, 2, stops[1], signal.SIGKILL)
    one_leg(trained, name, changes, 3, stops[2], signal.SIGTERM)
    trained.finish(trained.start([(name, changes, 2)], 1))
    paths, reference = trained.paths(name, changes), "whole" if changes is DOUBLE else "whole-fp32"
    starts = aftermath.log_lines(paths, "start")
    assert [line["world_size"] for line in starts] == [4, 2, 3, 1]
    assert 0 == starts[0]["clips_seen"] < starts[1]["clips_seen"] <= starts[2]["clips_seen"] < starts[3]["clips_seen"]
    assert_same_draws(trained, name)
    print(name, assert_close(trained, name, reference, changes, tolerance))
    assert_curves_lie_on_each_other(paths, trained.paths(reference, changes), 1e-5)


@pytest.mark.parametrize(("world_size", "limit"), [(2, 3), (1, 2)])
def test_a_batch_that_follows_the_gpus_takes_the_learning_rate_along(trained, world_size, limit):
    name, peak = f"per-gpu-{world_size}", 1e-3
    changes = {
        "batch": {"global_clips": 4, "scale": "per-gpu"},
        "optim": {"lr": peak, "schedule": "constant", "warmup_clips": 0},
        "train__total_clips": 24,
        "train__log_every_clips": 1,
    }
    trained.finish(trained.start([(name, changes, limit)], world_size))
    paths = trained.paths(name, changes)
    (start,) = aftermath.log_lines(paths, "start")
    assert start["global_clips"] == world_size * limit
    rates = aftermath.curve(paths, "train", "lr")
    assert list(rates) == list(range(world_size * limit, 25, world_size * limit))
    assert list(rates.values()) == pytest.approx([peak * world_size * limit / 4] * len(rates))
    assert sorted(trained.drawn[name]) == list(range(24))
