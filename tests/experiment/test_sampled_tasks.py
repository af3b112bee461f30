"""What is generated must have been trained, and must fit the clip: one line says what to set."""

import pytest

from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.tasks_config import TASKS

EVERY = {**dict.fromkeys(TASKS, 1.0), "prefix_min_frames": 2, "prefix_max_frames": 8}


def run(weights, **sample):
    return strict.validate(RunConfig, {"model": {"num_frames": 12}, "tasks": weights, "sample": sample})


def test_all_six_tasks_can_be_sampled():
    assert run(EVERY, tasks=list(TASKS), given_frames=8, given_frame=11, interpolation_every=11).sample.tasks == TASKS


@pytest.mark.parametrize("task", TASKS)
def test_a_task_that_is_never_trained_is_not_sampled(task):
    other = next(name for name in TASKS if name != task)
    said = rf"sample.tasks has {task}, which is never trained; .* set sample.tasks to \[{other}\]"
    with pytest.raises(UserError, match=said):
        run({**EVERY, task: 0.0}, tasks=[task, other])


def test_the_usual_tasks_of_a_run_that_trains_one_of_them():
    with pytest.raises(UserError, match=r"set sample.tasks to \[prediction\]"):
        run({**EVERY, "unconditional": 0.0})
    with pytest.raises(UserError, match=r"set sample.tasks to \[completion\]"):
        run({**dict.fromkeys(TASKS, 0.0), "completion": 1.0, "prefix_max_frames": 8})


@pytest.mark.parametrize("task", ["prediction", "backward"])
@pytest.mark.parametrize("given_frames", [1, 9])
def test_given_frames_are_among_those_of_training(task, given_frames):
    with pytest.raises(UserError, match=f"given_frames {given_frames} is never trained: training gives 2 to 8 frames"):
        run(EVERY, tasks=[task], given_frames=given_frames)


def test_given_frames_that_are_not_used_do_not_matter():
    assert run(EVERY, tasks=["unconditional", "interpolation"], given_frames=9).sample.given_frames == 9


@pytest.mark.parametrize(
    ("task", "field", "value", "said"),
    [
        ("image_to_video", "given_frame", 12, "given_frame 12 is not among the 12 frames"),
        ("interpolation", "given_frame", 12, "given_frame 12 is not among the 12 frames"),
        ("interpolation", "interpolation_every", 12, "interpolation_every 12 must be smaller than the 12 frames"),
        ("prediction", "given_frames", 12, "given_frames must be smaller than model.num_frames"),
    ],
)
def test_given_frames_fit_the_clip(task, field, value, said):
    with pytest.raises(UserError, match=said):
        run(EVERY, tasks=[task], **{field: value})


def test_a_completion_needs_a_frame_between_two():
    tasks = {"completion": 1.0, "prediction": 0.0, "unconditional": 0.0, "prefix_max_frames": 1}
    with pytest.raises(UserError, match="at least 3 frames"):
        strict.validate(
            RunConfig,
            {"model": {"num_frames": 2}, "tasks": tasks, "sample": {"tasks": ["completion"], "given_frames": 1}},
        )
