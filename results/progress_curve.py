"""The training's log as curves: what `progress.jsonl` says of the loss and of the speed, read strictly."""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdt_hpc.errors import UserError


@dataclass(frozen=True)
class Restart:
    """A start of the training that is not its first."""

    clips_seen: int
    before: str
    """Partition that the run was on."""
    partition: str
    """Partition that it went on at."""

    @property
    def moved(self) -> bool:
        """Whether it changed the partition."""
        return self.before != self.partition


@dataclass
class Curve:
    """What was logged over clips seen; each point is (clips seen, value)."""

    train: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    lr: list[tuple[int, float]] = field(default_factory=list)
    """Learning rate."""
    clips_per_s: list[tuple[int, float]] = field(default_factory=list)
    """Clips trained per second."""
    restarts: list[Restart] = field(default_factory=list)

    def smoothed(self) -> list[tuple[int, float]]:
        """The training loss under a moving average over the last tenth of the log so far (at least 3 lines)."""
        sums = [0.0, *itertools.accumulate(loss for _, loss in self.train)]
        points = []
        for end, (clips_seen, _) in enumerate(self.train, 1):
            first = max(0, end - max(3, end // 10))
            points.append((clips_seen, (sums[end] - sums[first]) / (end - first)))
        return points


def read(path: Path) -> Curve | None:
    """The curves of a run; None where there is no log.

    Raises:
        UserError: a line is damaged (named by its number).
    """
    if not path.exists():
        return None
    curve, before = Curve(), None
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line: dict[str, Any] = json.loads(text)
            kind, clips_seen = line["kind"], int(line["clips_seen"])
            if kind == "train":
                _append(curve.train, clips_seen, line["loss"])
                _append(curve.lr, clips_seen, line.get("lr"))  # a log from elsewhere may lack them
                _append(curve.clips_per_s, clips_seen, line.get("clips_per_s"))
            elif kind == "validation":
                _append(curve.validation, clips_seen, line["val_loss"])
            elif kind == "start":
                partition = str(line["partition"])
                if before is not None:
                    curve.restarts.append(Restart(clips_seen, before, partition))
                before = partition
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}:{number} is damaged ({error!r}); remove the line and run report again") from None
    return curve


def _append(points: list[tuple[int, float]], clips_seen: int, value: float | None) -> None:
    if value is not None:  # null: no update of that span was finite; the log says so, a curve cannot
        points.append((clips_seen, float(value)))
