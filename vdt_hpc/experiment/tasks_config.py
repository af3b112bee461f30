"""The section of a run configuration that says which tasks training draws from."""

from typing import Annotated, Literal

from pydantic import model_validator

from vdt_hpc.experiment.section import OPTION, NonNegativeFloat, PositiveInt, Section

TaskName = Literal["prediction", "unconditional", "backward", "image_to_video", "interpolation", "completion"]
TASKS: tuple[TaskName, ...] = (
    "prediction", "unconditional", "backward", "image_to_video", "interpolation", "completion",
)  # fmt: skip
"""In the order of the drawing: new ones come last, so that what runs drew before stays the same."""
PREFIX_TASKS: tuple[TaskName, ...] = ("prediction", "backward")
"""Those that are given so many frames in a row, from `prefix_min_frames` to `prefix_max_frames`."""


class TasksConfig(Section):
    """The mix of mask-modelling tasks that training draws from, one task per clip."""

    prediction: NonNegativeFloat = 0.8
    """Weight of prediction: the first frames are given, the rest is generated."""
    unconditional: NonNegativeFloat = 0.2
    """Weight of unconditional generation: no frame is given."""
    backward: Annotated[NonNegativeFloat, OPTION] = 0.0
    """Weight of backward prediction: the last frames are given, as many as a prediction's first ones."""
    image_to_video: Annotated[NonNegativeFloat, OPTION] = 0.0
    """Weight of image-to-video: one frame is given, anywhere."""
    interpolation: Annotated[NonNegativeFloat, OPTION] = 0.0
    """Weight of interpolation: frames are given here and there, at regular distances or at random."""
    completion: Annotated[NonNegativeFloat, OPTION] = 0.0
    """Weight of spatial-temporal completion: blocks of the picture are generated over a span of frames."""
    prefix_min_frames: PositiveInt = 1
    """Fewest given frames of a prediction or backward prediction; drawn uniformly up to `prefix_max_frames`."""
    prefix_max_frames: PositiveInt = 15
    """Most given frames of a prediction or backward prediction."""

    @model_validator(mode="after")
    def _possible(self) -> "TasksConfig":
        if not any(getattr(self, task) for task in TASKS):
            raise ValueError("at least one task needs a weight above 0")
        if self.prefix_min_frames > self.prefix_max_frames:
            raise ValueError("prefix_min_frames is larger than prefix_max_frames")
        return self

    def weights(self) -> dict[TaskName, float]:
        """Probability of each task that has one; they sum to 1."""
        weights: dict[TaskName, float] = {task: getattr(self, task) for task in TASKS if getattr(self, task)}
        total = sum(weights.values())
        return {task: weight / total for task, weight in weights.items()}
