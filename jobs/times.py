"""Diffusion times of examples: whole numbers, or real ones where the objective is a flow."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from vdt_hpc.experiment.model_config import DiffusionConfig

Time = int | float
"""int: 0 .. num_train_steps - 1. float: in (0, num_train_steps], a float32 number."""

SMALLEST_SIGMA, LARGEST_QUANTILE = 2.0**-24, 1 - 2.0**-53
"""Where the tails of the logit-normal law are cut: sigma 0 has no noise, and quantile 1 no normal number."""


def draw(rng: np.random.Generator, diffusion: DiffusionConfig) -> Time:
    """The time of a training example."""
    if diffusion.prediction == "flow":
        return quantile(diffusion, 1 - rng.random())  # in (0, 1]
    return int(rng.integers(diffusion.num_train_steps))


def quantile(diffusion: DiffusionConfig, probability: float) -> Time:
    """The time below which training draws with a probability in (0, 1].

    A flow's times are uniform, or logit-normal: sigma = 1 / (1 + exp(-z)) with z from a normal law (arXiv 2403.03206,
    section 3.1).
    """
    if diffusion.prediction != "flow":
        return int(min(probability, LARGEST_QUANTILE) * diffusion.num_train_steps)
    sigma = probability
    if diffusion.flow_times == "logit-normal":
        law = NormalDist(diffusion.logit_normal_mean, diffusion.logit_normal_std)
        sigma = 0.5 * (1 + math.tanh(law.inv_cdf(min(probability, LARGEST_QUANTILE)) / 2))
    return float(np.float32(max(sigma, SMALLEST_SIGMA) * diffusion.num_train_steps))


def as_array(times: Sequence[Time]) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    """(B,) int64 of whole times, float32 of a flow's."""
    return np.array(times, np.float32) if isinstance(times[0], float) else np.array(times, np.int64)
