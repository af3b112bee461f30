from collections import Counter

import numpy as np
import pytest

from jobs import examples
from tests.jobs import made_up
from vdt_hpc.errors import UserError

CONFIG = made_up.config()


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
