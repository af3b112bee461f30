"""What a line of the training's log says of the updates since the line before."""

import torch

from jobs.memory import peak_memory_gb
from jobs.tally import SIZE, Tally
from vdt_hpc.dist import seconds_left
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.size import training_flops


class Window:
    """Counts updates until a line is written.

    Args:
        config, partition: the run, and where it is.
        device: whose memory is told.
    """

    def __init__(self, config: RunConfig, partition: Partition, device: torch.device) -> None:
        self.last_loss: float | None = None
        """Mean loss of the last update that was applied."""
        self._partition, self._device = partition, device
        peak = partition.peak_bf16_tflops
        self._share_of_peak = training_flops(config) / (partition.world_size * peak * 1e12) if peak else None
        self._waited_before_s = 0.0
        self._clear()

    def _clear(self) -> None:
        self._num_clips, self._seconds = 0, 0.0
        self._tally = Tally(torch.zeros(SIZE, dtype=torch.float64))
        self._norms: list[float] = []
        self._lr = float("nan")

    def add(self, tally: Tally, norm: float, lr: float) -> None:
        """Count an applied update."""
        self._tally.merge(tally)
        self.last_loss = float(tally.means()["loss"])
        self._norms.append(norm)
        self._lr = lr

    def count(self, num_clips: int, seconds: float) -> None:
        """Count an update, applied or skipped, and its time; validation and saving are left out of the speed."""
        self._num_clips += num_clips
        self._seconds += seconds

    def values(self, waited_s: float) -> dict[str, object]:
        """The line's values; a new window begins.

        Args:
            waited_s: seconds that this process has waited for examples since it started.
        """
        clips_per_s = self._num_clips / self._seconds
        values = {
            **self._tally.means(),
            "grad_norm": sum(self._norms) / len(self._norms) if self._norms else float("nan"),
            "lr": self._lr,
            "clips_per_s": clips_per_s,
            "wait_s": waited_s - self._waited_before_s,
            "memory_gb": peak_memory_gb(self._device),
            "mfu": None if self._share_of_peak is None else self._share_of_peak * clips_per_s,
            "time_left_s": seconds_left(self._partition.timeout_min),
        }
        self._waited_before_s = waited_s
        self._clear()
        return values
