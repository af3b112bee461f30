"""Samples longer than the model's window: what a configuration may ask for, and what each mistake is told."""

import json

import pytest
from pydantic import ValidationError

from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.window_plan import plan

WINDOW, CLIP = 6, 12
TRAINED = {"prediction": 0.5, "unconditional": 0.1, "backward": 0.2, "image_to_video": 0.1, "interpolation": 0.1}


def config(trained=None, **sample):
    tree = {
        "data": {"frames_per_clip": CLIP},
        "model": {"num_frames": WINDOW},
        "tasks": {**(trained or TRAINED), "prefix_min_frames": 1, "prefix_max_frames": 3},
        "sample": sample,
    }
    return RunConfig.model_validate_json(json.dumps(tree))


def complaint(**changes):
    with pytest.raises(ValidationError) as caught:
        config(**changes)
    (error,) = caught.value.errors()
    assert "\n" not in error["msg"]
    return error["msg"]


@pytest.mark.parametrize(
    "sample",
    [
        {"tasks": ["prediction", "unconditional"], "num_frames": 40},
        {"tasks": ["prediction"], "num_frames": 7, "given_frames": 1, "overlap_frames": 3},
        {"tasks": ["backward"], "num_frames": CLIP},
        {"tasks": ["image_to_video"], "num_frames": CLIP, "given_frame": 6},
        {"tasks": ["image_to_video"], "num_frames": 40, "given_frame": CLIP - 1},
        {"tasks": ["interpolation"], "num_frames": WINDOW},
    ],
)
def test_windows_roll_where_training_saw_their_beginnings(sample):
    assert config(**sample).overlap_frames == sample.get("overlap_frames", sample.get("given_frames", 2))


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"num_frames": WINDOW - 1}, "less than the model's 6"),
        ({"num_frames": 20, "overlap_frames": 4}, "overlap by 4 frames, but training gives 1 to 3"),
        ({"num_frames": 20, "tasks": ["interpolation"]}, "interpolation of sample.num_frames 20"),
        ({"num_frames": CLIP + 1, "tasks": ["backward"]}, "is given frame 12, but clips have 12"),
        ({"num_frames": 20, "tasks": ["image_to_video"], "given_frame": CLIP}, "is given frame 12, but clips have 12"),
    ],
)
def test_what_cannot_roll_is_one_line(sample, said):
    assert said in complaint(**sample)


ONLY_FORWARDS = {"prediction": 0.5, "image_to_video": 0.5}
ONLY_BACKWARDS = {"prediction": 0.0, "unconditional": 0.0, "backward": 0.5, "image_to_video": 0.5}


@pytest.mark.parametrize("given_frame", range(CLIP))
def test_each_direction_is_asked_for_exactly_where_the_plan_takes_it(given_frame):
    sample = {"tasks": ["image_to_video"], "num_frames": CLIP, "given_frame": given_frame}
    first, *others = plan(CLIP, WINDOW, 2, [given_frame])
    for trained, refused, word in (
        (ONLY_FORWARDS, any(frames.start < first.start for frames in others), "rolls backwards"),
        (ONLY_BACKWARDS, any(frames.start > first.start for frames in others), "rolls on by prediction"),
    ):
        if refused:
            assert word in complaint(trained=trained, **sample)
        else:
            config(trained=trained, **sample)
