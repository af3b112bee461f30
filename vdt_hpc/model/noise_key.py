"""What the noise of a sample depends on, and nothing else: not on the batch, the rank, or a restart."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vdt_hpc.experiment.tasks_config import TaskName
from vdt_hpc.model import masks
from vdt_hpc.model.noise import stream

START, STEP = 64, 80
"""Purposes of the streams of samples: these plus the task's number. Training draws under lower numbers."""
WINDOW = 256
"""What each further window of a long sample adds to the purpose."""


@dataclass(frozen=True)
class NoiseKey:
    """Names the noise of one window of one sample."""

    seed: int
    task: TaskName
    clip: int
    """Index of the clip in its split."""
    trajectory: int
    window: int = 0
    """Number of the window, in the order of generation."""

    def start(self, shape: Sequence[int]) -> Tensor:
        """Noise that a sample starts from, float32 on the CPU."""
        generator = stream(self.seed, self._purpose(START), self.clip, self.trajectory)
        return torch.from_numpy(generator.standard_normal(tuple(shape), "float32"))

    def generator(self, step: int) -> torch.Generator:
        """Generator of the noise that one step adds.

        torch's CPU generator keeps 32 bits of its seed, too few to name every sample of a large set; a seed of its
        own for each step makes a coincidence one of single steps, which no sample can show.
        """
        words = stream(self.seed, self._purpose(STEP), self.clip, self.trajectory, step)
        return torch.Generator().manual_seed(int(words.integers(2**32)))

    def _purpose(self, part: int) -> int:
        return part + masks.TASK_NUMBERS[self.task] + WINDOW * self.window
