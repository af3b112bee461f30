"""How pages and tables say what a task is, and which frames it is given."""

from collections.abc import Sequence

from vdt_hpc.experiment.sample_config import SamplerName

TASKS = {
    "prediction": "Prediction", "unconditional": "Unconditional generation", "backward": "Backward prediction",
    "image_to_video": "Image to video", "interpolation": "Interpolation",
    "completion": "Spatial-temporal completion",
}  # fmt: skip

SAMPLERS: dict[SamplerName, str] = {
    "ddpm": "DDPM", "ddim": "DDIM", "dpm-solver++": "DPM-Solver++", "unipc": "UniPC", "euler": "Euler", "heun": "Heun",
}  # fmt: skip


def frames(task: str, given: Sequence[int], num_frames: int) -> str:
    """Which frames are given and which are generated, in a few words.

    Args:
        task: the task.
        given: indices of the wholly given frames, in order.
        num_frames: of a sample.
    """
    if not given:
        return f"{num_frames} frames"
    num_given, rest = len(given), num_frames - len(given)
    if task == "completion":
        return f"first and last frame given, blocks of the {rest} between generated"
    if task == "interpolation" and num_given > 1:
        return f"every {_ordinal(given[1] - given[0])} frame given, {rest} generated"
    if task == "backward":
        return (
            f"last {num_given} frames given, {rest} generated"
            if num_given > 1
            else f"last frame given, {rest} generated"
        )
    if task == "image_to_video":
        return f"frame {given[0]} given, {rest} generated"
    return f"{num_given} given frame{'s' if num_given > 1 else ''}, {rest} generated"


def way(sampler: SamplerName | None, num_steps: int | None) -> str:
    """How the model was sampled, such as `DDIM, 50 steps`; of a record of the model both are known."""
    assert sampler is not None and num_steps is not None
    return f"{SAMPLERS[sampler]}, {num_steps} steps"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
