"""The training's log as curves: what `progress.jsonl` says of the loss and of the speed, read strictly."""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdt_hpc import files
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
    """The curves of a run; None where there is no log. A killed process may have left the last line unfinished.

    Raises:
        UserError: a line is damaged (named by its number), or the file cannot be read.
    """
    if not path.exists():
        return None
    with files.readable(path):
        *lines, unfinished = path.read_bytes().split(b"\n")
    if _is_json(unfinished):
        lines.append(unfinished)
    curve, partition = Curve(), None
    for number, text in enumerate(lines, 1):
        try:
            partition = _add(curve, json.loads(text.decode()), partition)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}:{number} is damaged ({error!r}); remove the line and run report again") from None
    return curve


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text.decode())
    except ValueError:
        return False
    return True


def _add(curve: Curve, line: dict[str, Any], partition: str | None) -> str | None:
    """Put a line into the curves; returns the partition that the run is on then, None before its first start."""
    kind, clips_seen = line["kind"], int(line["clips_seen"])
    if kind == "train":
        _append(curve.train, clips_seen, line["loss"])
        _append(curve.lr, clips_seen, line.get("lr"))  # a log from elsewhere may lack them
        _append(curve.clips_per_s, clips_seen, line.get("clips_per_s"))
    elif kind == "validation":
        _append(curve.validation, clips_seen, line["val_loss"])
    elif kind == "start":
        before, partition = partition, str(line["partition"])
        if before is not None:
            curve.restarts.append(Restart(clips_seen, before, partition))
    return partition


def _append(points: list[tuple[int, float]], clips_seen: int, value: float | None) -> None:
    if value is not None:  # null: no update of that span was finite; the log says so, a curve cannot
        points.append((clips_seen, float(value)))
