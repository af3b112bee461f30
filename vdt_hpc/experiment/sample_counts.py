"""How many samples there are of which test clips: what a protocol asks for, and no more than that."""

import functools
from dataclasses import dataclass


def spread(num_chosen: int, num_clips: int) -> list[int]:
    """Indices of clips chosen evenly from the first to the last: number i at round(i / (num_chosen - 1) * (N - 1)) of
    N, MCVD's rule (arXiv 2205.09853, datasets/__init__.py of its code).

    Args:
        num_chosen: at most num_clips, so that none is chosen twice.
        num_clips: N.
    """
    assert 0 < num_chosen <= num_clips, (num_chosen, num_clips)
    last = max(num_chosen - 1, 1)
    return [round(number / last * (num_clips - 1)) for number in range(num_chosen)]


@dataclass(frozen=True)
class SampleCounts:
    """The first clips of the test split have samples, some of them more than one."""

    num_clips: int
    """Clips that have samples."""
    num_trajectories: int
    """Samples of a repeated clip."""
    num_repeated_clips: int
    """Clips, spread evenly over those that have samples, with more than one; the others have one."""

    @functools.cached_property
    def _repeated(self) -> frozenset[int]:
        return frozenset(spread(self.num_repeated_clips, self.num_clips))

    def of_clip(self, clip: int) -> int:
        """Samples of a clip, by its index in the test split."""
        if clip >= self.num_clips:
            return 0
        return self.num_trajectories if clip in self._repeated else 1

    @property
    def of_every_clip(self) -> int:
        """Samples that every clip has at least."""
        return self.num_trajectories if self.num_repeated_clips == self.num_clips else 1

    def __str__(self) -> str:
        """Such as `1525 clips x 1, 256 of them x 10`."""
        text = f"{self.num_clips} clips x {self.of_every_clip}"
        more = f", {self.num_repeated_clips} of them x {self.num_trajectories}"
        return text if self.of_every_clip == self.num_trajectories else text + more
