"""What is measured of the averaged weights while they are trained: the validation loss, and film strips to look at."""

from jobs import schedule
from jobs.progress_log import ProgressLog
from jobs.strips import Strips
from jobs.trainer import Trainer
from jobs.validation import Averaged, Validation
from vdt_hpc.dist import ProcessGroup
from vdt_hpc.experiment.config import RunConfig


class Measuring:
    """Measures what is due; every rank has one, and calls it at the same positions.

    Args:
        config: the run.
        validation: the validation loss, which all ranks share.
        strips: film strips, on rank 0 alone; the others wait for it where they next meet.
        trainer: whose average is measured.
        group: the ranks.
    """

    def __init__(
        self, config: RunConfig, validation: Validation, strips: Strips | None, trainer: Trainer, group: ProcessGroup
    ) -> None:
        self._config, self._validation, self._strips = config, validation, strips
        self._trainer, self._group = trainer, group

    @property
    def last_loss(self) -> float | None:
        """The validation loss that was measured last."""
        return self._validation.last_loss

    def measure(self, before: int, here: int, log: ProgressLog | None) -> bool:
        """Measure what came due between two positions and is not in the log yet; False if a stop came meanwhile.

        Args:
            before, here: clips seen before and after an update; also at a resumed position, where a stop or a kill may
                have come before it was measured.
            log: where it is told, on rank 0.

        Raises:
            UserError: the log cannot be written (on rank 0).
        """
        if self._validation.num_examples and self._is_due(before, here):
            missing = log is not None and not log.has("validation", here)
            if self._group.any(missing) and not self._validate(here, log):
                return False
        self._draw(before, here, log)
        return True

    def _is_due(self, before: int, here: int) -> bool:
        train = self._config.train
        return here >= train.total_clips or schedule.crosses(train.val_every_clips, before, here)

    def _validate(self, here: int, log: ProgressLog | None) -> bool:
        """Measure the validation loss; False if a stop came to any rank."""
        measured = self._validation.measure()
        if measured is not None and log:
            log.write("validation", here, **measured)
        return measured is not None

    def _draw(self, before: int, here: int, log: ProgressLog | None) -> None:
        """Draw a film strip if one is due; a stop that comes meanwhile shows at the next update."""
        if self._strips and log:
            path = self._strips.draw_if_due(Averaged(self._trainer), before, here)
            if path:
                log.picture("strips", here, path)
