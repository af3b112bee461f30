from collections import Counter

import numpy as np
import pytest

from jobs import examples
from tests.jobs import made_up
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.tasks_config import TASKS
from vdt_hpc.model import masks

CONFIG = made_up.config()
EVEN = made_up.config(tasks={**dict.fromkeys(TASKS, 1.0), "prefix_max_frames": 3})


def drawer(config=CONFIG, num_clips=7, num_flips=2):
    return examples.Drawer(config, num_clips, num_flips, made_up.FRAMES)


@pytest.fixture
def moments(partition):
    paths = made_up.write_latents(CONFIG, partition)
    return made_up.moments(CONFIG, paths)


def test_an_example_depends_on_seed_and_position_alone():
    forward = [drawer().training(position) for position in range(50)]
    examples.epoch_order.cache_clear()
    backward = [drawer().training(position) for position in reversed(range(50))]
    assert forward == backward[::-1]
    assert forward != [drawer(made_up.config(seed=1)).training(position) for position in range(50)]


def test_an_epoch_shows_every_clip_once_in_its_own_order():
    epochs = [[drawer().training(7 * epoch + index).clip for index in range(7)] for epoch in range(20)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 15


def test_draws_cover_what_they_should():
    drawn = [drawer().training(position) for position in range(4000)]
    assert Counter(example.flip for example in drawn)[1] == pytest.approx(2000, abs=150)
    assert {example.start_frame for example in drawn} == {0, 1}
    assert Counter(example.task for example in drawn)["prediction"] == pytest.approx(3200, abs=120)
    assert {example.given_frames for example in drawn if example.task == "prediction"} == {1, 2, 3}
    assert {example.given_frames for example in drawn if example.task == "unconditional"} == {0}
    times = np.array([example.time for example in drawn])
    assert times.min() < 5
    assert times.max() > 994
    assert times.mean() == pytest.approx(499.5, abs=20)


def test_without_mirrored_latents_nothing_is_flipped():
    assert not any(drawer(num_flips=1).training(position).flip for position in range(50))


def test_given_frames_are_the_mean_and_generated_ones_a_draw(moments):
    drawn = [drawer().training(position) for position in range(30)]
    batch = examples.prepare(CONFIG, moments, drawn)
    deviations = []
    for row, example in enumerate(drawn):
        frames = slice(example.start_frame, example.start_frame + 5)
        mean = moments.mean[example.clip, example.flip, frames].astype(np.float32) * np.float32(0.25)
        given = example.given_frames
        assert np.array_equal(batch.clean[row, :given], mean[:given])
        deviations.append((batch.clean[row, given:] - mean[given:]).ravel() / (0.1 * 0.25))
        assert batch.masks[row].tolist() == [0] * given + [1] * (5 - given)
    deviation = np.concatenate(deviations)
    assert deviation.std() == pytest.approx(1, abs=0.05)
    assert deviation.mean() == pytest.approx(0, abs=0.05)
    assert batch.noise.std() == pytest.approx(1, abs=0.05)


def test_what_an_example_holds_does_not_depend_on_its_batch(moments):
    drawn = [drawer().training(position) for position in range(6)]
    whole = examples.prepare(CONFIG, moments, drawn)
    for row, example in enumerate(drawn):
        alone = examples.prepare(CONFIG, moments, [example])
        assert np.array_equal(alone.clean[0], whole.clean[row])
        assert np.array_equal(alone.noise[0], whole.noise[row])


def test_noise_differs_between_positions_purposes_and_seeds():
    keys = [(0, examples.NOISE, 3), (0, examples.NOISE, 4), (0, examples.POSTERIOR, 3), (1, examples.NOISE, 3)]
    draws = [examples.normal(*key, (4,)).tobytes() for key in keys]
    assert len(set(draws)) == 4


def test_validation_examples_are_fixed_and_spread_over_times_and_clips():
    drawn = [drawer().validation(index, 28) for index in range(28)]
    assert drawn == [drawer().validation(index, 28) for index in range(28)]
    assert Counter(example.clip for example in drawn) == dict.fromkeys(range(7), 4)
    assert sorted(example.time for example in drawn) == [int((place + 0.5) / 28 * 1000) for place in range(28)]
    assert not any(example.flip or example.start_frame for example in drawn)


def test_no_training_clips_is_a_line_for_the_user(partition):
    paths = made_up.write_latents(CONFIG, partition, {"val": 1, "test": 1})
    with pytest.raises(UserError, match="no training clips"):
        made_up.moments(CONFIG, paths)


def test_runs_of_the_first_two_tasks_draw_what_they_always_drew():
    def drawn(example):
        return (example.clip, example.start_frame, example.flip, example.task, example.given_frames, example.time)

    assert [drawn(drawer().training(position)) for position in (0, 1, 2, 1000)] == [
        (0, 1, 0, "unconditional", 0, 671),
        (5, 1, 0, "unconditional", 0, 260),
        (1, 0, 1, "unconditional", 0, 415),
        (5, 0, 0, "prediction", 1, 231),
    ]
    assert drawn(drawer().validation(5, 28)) == (5, 0, 0, "prediction", 2, 446)


def test_tasks_come_as_often_as_their_weights_say():
    weights = {
        "prediction": 4.0, "backward": 1.0, "image_to_video": 1.0, "interpolation": 1.0, "completion": 2.0,
        "unconditional": 1.0,
    }  # fmt: skip
    config = made_up.config(tasks={**weights, "prefix_max_frames": 3})
    for draw in (drawer(config).training, lambda index: drawer(config).validation(index, 6000)):
        counts = Counter(draw(place).task for place in range(4000))
        assert counts == pytest.approx({task: 400 * weight for task, weight in weights.items()}, abs=110)


def test_weights_that_round_to_less_than_one_still_draw_the_last_task(monkeypatch):
    draws = drawer(EVEN)
    draws._bounds = draws._bounds * 0.9999
    monkeypatch.setattr(examples, "stream", lambda *key: Highest())
    assert draws.training(0).task == TASKS[-1]


class Highest:
    """A stream whose every draw is the highest that there is."""

    def random(self):
        return 1 - 2.0**-53

    def integers(self, low, high=None):
        return (low if high is None else high) - 1

    def permutation(self, count):
        return np.arange(count)


def test_given_frames_are_uniform_forwards_and_backwards():
    drawn = [drawer(EVEN).training(position) for position in range(12_000)]
    for task in TASKS:
        lengths = Counter(example.given_frames for example in drawn if example.task == task)
        if task in ("prediction", "backward"):
            assert lengths == pytest.approx(dict.fromkeys((1, 2, 3), 2000 / 3), abs=90)
        else:
            assert set(lengths) == {0}


def test_each_example_has_a_mask_of_its_own(moments):
    drawn = [drawer(EVEN).training(position) for position in range(200)]
    batch = examples.prepare(EVEN, moments, drawn)
    again = examples.prepare(EVEN, moments, drawn[::-1])
    for task in ("prediction", "backward", "image_to_video", "interpolation", "completion"):
        made = [mask for mask, example in zip(batch.masks, drawn, strict=True) if example.task == task]
        assert len({mask.tobytes() for mask in made}) >= 3, task
    assert all(np.array_equal(one, other) for one, other in zip(batch.masks, again.masks[::-1], strict=True))
    stacked = masks.batch(batch.masks)
    assert stacked.shape == (200, 5, 1, 4, 4)
    assert batch.split(7)[3].masks[0] is batch.masks[21]


def test_given_cells_are_the_mean_and_generated_ones_a_draw_in_every_task(moments):
    drawn = [drawer(EVEN).training(position) for position in range(300)]
    batch = examples.prepare(EVEN, moments, drawn)
    mask = np.broadcast_to(masks.batch(batch.masks).numpy(), batch.clean.shape)
    frames = [slice(example.start_frame, example.start_frame + 5) for example in drawn]
    mean = np.stack([moments.mean[one.clip, one.flip, seen] for one, seen in zip(drawn, frames, strict=True)])
    away = batch.clean - mean.astype(np.float32) * np.float32(0.25)
    assert (away[mask == masks.GIVEN] == 0).all()
    assert away[mask == masks.GENERATE].std() == pytest.approx(0.1 * 0.25, rel=0.03)


def test_masks_of_validation_are_not_those_of_training(moments):
    def made(draw):
        drawn = [draw(place) for place in range(60)]
        return {mask.tobytes() for mask in examples.prepare(EVEN, moments, drawn).masks if mask.ndim == 4}

    training, validation = made(drawer(EVEN).training), made(lambda index: drawer(EVEN).validation(index, 60))
    assert len(training | validation) > max(len(training), len(validation)) + 3


def test_the_times_of_a_flow_are_real_and_those_of_validation_spread_evenly(moments):
    flow = made_up.config(diffusion={"prediction": "flow"}, sample__sampler="euler")
    drawn = [drawer(flow).training(position) for position in range(20)]
    assert examples.prepare(flow, moments, drawn).times.dtype == np.float32
    assert all((one.clip, one.task, one.flip) == (other.clip, other.task, other.flip)
               for one, other in zip(drawn, map(drawer().training, range(20)), strict=True))  # fmt: skip
    spread = sorted(drawer(flow).validation(index, 28).time for index in range(28))
    assert spread == pytest.approx([(place + 0.5) / 28 * 1000 for place in range(28)])
