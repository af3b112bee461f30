"""Killed at any moment and started again, training ends bit for bit where the run that was left alone ends."""

import os
import random
import time
from collections import Counter
from functools import partial

import pytest

from tests.jobs import aftermath, made_up
from tests.jobs.ranks import Ranks, train
from vdt_hpc.store import checkpoint

BATCH = 6
PASSED = 12 * BATCH
"""Clips beyond the resumed position at which a kill comes at the latest: three checkpoints."""
SLOW_S = 0.005
"""What each step of a save takes longer, so that kills land within."""
CHANGES = {
    "model": {"width": 48, "depth": 2, "num_heads": 2, "num_frames": 5},
    "batch__global_clips": BATCH,
    "train__checkpoint_every_clips": 4 * BATCH,
    "train__log_every_clips": BATCH,
    "train__val_every_clips": 7 * BATCH,
}
BEFORE = "tests.jobs.test_exact:slow_saves_and_small_buckets"


def slow_saves_and_small_buckets():
    """Called in every rank: saves take their time at each step; gradients travel in several pieces."""
    from jobs import gradients, trainer
    from vdt_hpc.store import checkpoint_writing as writing

    trainer.GradientSum = partial(gradients.GradientSum, bucket_bytes=60_000)
    write, publish, retain = writing.write_tensors, writing.publish, writing.retain

    def slow_write(file, tensors):
        time.sleep(SLOW_S)
        write(file, tensors)
        time.sleep(SLOW_S)

    def slow_publish(staging, provenance, marks, check):
        published = publish(staging, provenance, marks, lambda: (check(), time.sleep(SLOW_S)))
        time.sleep(SLOW_S)
        return published

    def slow_retain(*arguments):
        lines = retain(*arguments)
        time.sleep(SLOW_S)
        return lines

    writing.write_tensors, writing.publish, writing.retain = slow_write, slow_publish, slow_retain


class Killing:
    """Starts of one run that are killed, each at a moment of its own.

    Args:
        root, changes, world_size: as for `Ranks`.
        start_s: how long a start takes until training begins.
        pass_s: how long `PASSED` clips take.
        seed: of the moments.
    """

    def __init__(self, root, changes, world_size, start_s, pass_s, seed):
        self._root, self._changes, self._world_size = root, changes, world_size
        self._start_s, self._pass_s = start_s, pass_s
        self._draw = random.Random(seed)
        self.paths = made_up.write_latents(made_up.config(**changes), made_up.partition(root))
        self.hits = Counter()
        """Where the kills came: in a start, in training, in training within a save."""
        self.resumed_at = []

    def kill_one(self, aim):
        expected, found = aftermath.newest_clips(self.paths), self._staging()
        ranks = Ranks(self._root, self._changes, self._world_size, before=BEFORE)
        self._wait(ranks, aim, expected)
        ranks.kill()
        assert ranks.outcomes() == [None] * self._world_size, ranks.said()
        assert [process.exitcode for process in ranks.processes] == [-9] * self._world_size
        started = self._started(ranks)
        for line in started:
            assert line["clips_seen"] == expected
            assert ("resuming from" in ranks.said()) == (expected > 0)
            self.resumed_at.append(expected)
        assert "damaged" not in ranks.said()
        assert aftermath.newest_clips(self.paths) >= expected
        self.hits["start" if not started else "save" if self._staging() - found else "training"] += 1

    def _wait(self, ranks, aim, resumed_at):
        """Until a random moment of a start, of training, or after a save has begun; never until the end."""
        if aim == "start":
            time.sleep(self._draw.uniform(0, self._start_s))
            return
        ranks.wait_for(lambda: self._started(ranks))
        limit = resumed_at + (PASSED if aim == "training" else PASSED // 2)
        self._wait_s(ranks, self._draw.uniform(0, 2 * self._pass_s), limit)
        if aim == "save":
            staged = self._staging()
            ranks.wait_for(lambda: self._staging() - staged)
            self._wait_s(ranks, self._draw.uniform(0, 10 * SLOW_S), limit + PASSED)

    def _wait_s(self, ranks, seconds, limit):
        until = time.monotonic() + seconds
        ranks.wait_for(lambda: time.monotonic() >= until or self._clips() >= limit)

    def _started(self, ranks):
        lines = aftermath.log_lines(self.paths, "start")
        return [line for line in lines if line["job"] == f"{ranks.folder.name}-0"]

    def _clips(self):
        return max((line["clips_seen"] for line in aftermath.log_lines(self.paths, "train")), default=0)

    def _staging(self):
        return set(self.paths.checkpoints.glob(".clips-*.tmp"))


def train_uninterrupted(root, changes, world_size):
    """Returns the run's paths, and the seconds of a start and of `PASSED` clips."""
    paths = made_up.write_latents(made_up.config(**changes), made_up.partition(root))
    ranks = Ranks(root, changes, world_size, before=BEFORE)
    began = time.monotonic()
    ranks.wait_for(lambda: aftermath.log_lines(paths, "start"))
    started = time.monotonic()
    assert all(ended.get("complete") for ended in ranks.outcomes()), ranks.said()
    training_s = time.monotonic() - started
    return paths, started - began, training_s * PASSED / changes["train__total_clips"]


def assert_same_run(paths, reference):
    """The same tensors, the same curves with one line per position, and nothing left over."""
    aftermath.assert_equal(aftermath.final_state(paths), aftermath.final_state(reference))
    train_config = paths.config.train
    losses = aftermath.curve(paths, "train", "loss")
    assert losses == aftermath.curve(reference, "train", "loss")
    assert list(losses) == list(range(BATCH, train_config.total_clips + 1, BATCH))
    measured = aftermath.curve(paths, "validation", "val_loss")
    assert measured == aftermath.curve(reference, "validation", "val_loss")
    assert len(measured) == -(-train_config.total_clips // train_config.val_every_clips)
    assert len(aftermath.log_lines(paths, "end")) == 1
    assert not list(paths.checkpoints.glob(".*"))
    assert len(checkpoint.folders(paths.checkpoints)) == train_config.keep_checkpoints
    assert all(checkpoint.read(folder) for folder in checkpoint.folders(paths.checkpoints))
    assert len(list(paths.lease.iterdir())) == 1


@pytest.mark.parametrize(
    ("world_size", "aims"),
    [(2, {"start": 7, "training": 10, "save": 8}), (3, {"start": 1, "training": 2, "save": 2})],
    ids=["25-kills-of-2-ranks", "5-kills-of-3-ranks"],
)
def test_killed_at_any_moment_is_bit_for_bit_the_run_that_was_not(tmp_path, world_size, aims):
    num_kills = sum(aims.values())
    # The last clips are more than any kill may pass: no start comes to the end before all kills are done.
    changes = {**CHANGES, "train__total_clips": PASSED * (num_kills + 2)}
    reference, start_s, pass_s = train_uninterrupted(tmp_path / "uninterrupted", changes, world_size)
    seed = int(os.environ.get("KILL_SEED") or random.randrange(10**6))
    print(f"KILL_SEED={seed}; a start takes {start_s:.2f} s, {PASSED} clips {pass_s:.2f} s")
    killing = Killing(tmp_path / "killed", changes, world_size, start_s, pass_s, seed)
    order = list(Counter(aims).elements())
    random.Random(seed).shuffle(order)
    for aim in order:
        killing.kill_one(aim)
    print(f"kills: {dict(killing.hits)}; training began at {killing.resumed_at}")
    assert killing.hits.total() == num_kills
    assert num_kills < 25 or min(killing.hits[where] for where in ("start", "training", "save")) >= 1
    assert aftermath.newest_clips(killing.paths) < changes["train__total_clips"]
    train(tmp_path / "killed", changes, world_size, before=BEFORE)
    assert_same_run(killing.paths, reference)
