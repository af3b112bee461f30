"""The training's log: `progress.jsonl` for programs, TensorBoard for eyes, both keyed by clips seen.

Every line has `kind`, `clips_seen` and `time` (UTC). Kinds:
- `start`: training started or went on here; `partition`, `world_size`, `global_clips`, `code_commit`, `job`.
- `init`: the run began with the weights of a file; `file` (its name), `sha256`, `layout`, `num_loaded` of
  `num_tensors`, and in words what was `reshaped`, `dropped`, `not_initialised`, and `remarks`.
- `train`: means over the updates since the line before: `loss`, `loss_by_task`, `mse`, `vb` (bits per element),
  `grad_norm` (before clipping), `lr`, `clips_per_s`, `wait_s` (waiting for examples), `memory_gb` (task 0's largest
  use of its GPU, or its process on a CPU), `mfu` (share of the GPUs' dense bf16 peak that the model's own operations
  reach), `time_left_s` (to the job's time limit), `skipped_updates` (not finite, since this start). A number that
  does not exist is null.
- `validation`: `val_loss`, `val_loss_by_task`, `val_mse`, `val_vb` of the averaged weights on fixed examples;
  `num_examples`.
- `checkpoint`: one was published; `blocked_s` (training waited), `durable_s` (until it could be resumed from).
- `end`: training is complete, with everything above.

After a rollback, lines beyond the resumed position are removed, so that every curve has one value per position.
"""

import contextlib
import datetime
import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from vdt_hpc import files, unfinished


class ProgressLog:
    """Appends to both logs; one process of a run holds it. Use as a context manager.

    Args:
        path: `progress.jsonl`.
        tensorboard: folder of TensorBoard's event files.
        resumed_at: clips seen where this process goes on; 0 at the first start.
        check: raises LeaseLost if this process may not write to the run; called right before the log is replaced.

    Raises:
        UserError: the disk is full or the folder cannot be written.
        LeaseLost: `check` said so; the log is what it was.
    """

    def __init__(self, path: Path, tensorboard: Path, resumed_at: int, check: Callable[[], None]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = path
        self._file = _begin_anew(path, _kept(path, resumed_at), check)
        # Events at or after purge_step are hidden: those of updates that a rollback took back.
        self._events = SummaryWriter(str(tensorboard), purge_step=resumed_at + 1)

    def __enter__(self) -> "ProgressLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in (self._file, self._events):
            with contextlib.suppress(OSError):  # lines are flushed one by one; what a full disk has refused stays out
                part.close()

    def write(self, kind: str, clips_seen: int, **values: Any) -> None:
        """Append one line; numbers also become TensorBoard scalars named `kind/name`.

        Raises:
            UserError: the disk is full.
        """
        line = {"kind": kind, "clips_seen": clips_seen, "time": _now(), **_plain(values)}
        with files.explained(self._path):
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
            for name, value in _scalars(values):
                if kind not in ("start", "init", "end"):
                    self._events.add_scalar(f"{kind}/{name}", value, clips_seen)
            self._events.flush()

    def picture(self, name: str, clips_seen: int, path: Path) -> None:
        """Add a PNG file to TensorBoard's events; `progress.jsonl` holds no pictures.

        Raises:
            UserError: the disk is full.
        """
        import numpy as np
        from PIL import Image

        with files.explained(self._path), Image.open(path) as picture:
            self._events.add_image(name, np.asarray(picture.convert("RGB")), clips_seen, dataformats="HWC")
            self._events.flush()

    def has(self, kind: str, clips_seen: int) -> bool:
        """True if there is a line of that kind at that position."""
        return has_line(self._path, kind, clips_seen)

    def flush_to_disk(self) -> None:
        """Make the lines so far survive the machine: a checkpoint is about to say that training came this far.

        Raises:
            UserError: the disk is full.
        """
        with files.explained(self._path):
            os.fsync(self._file.fileno())


def has_line(path: Path, kind: str, clips_seen: int | None = None) -> bool:
    """True if a log has a line of that kind, at that position if one is given; no torch is imported."""
    lines = (line for line in files.read_json_lines(path)[0] if line.get("kind") == kind)
    return any(clips_seen in (None, line.get("clips_seen")) for line in lines)


def furthest_position(path: Path) -> int:
    """The largest number of clips seen that a log tells of; 0 where there is none."""
    positions = (line.get("clips_seen") for line in files.read_json_lines(path)[0])
    return max((position for position in positions if isinstance(position, int)), default=0)


def _kept(path: Path, resumed_at: int) -> list[files.Json]:
    """The lines of a log up to a position, without what a killed process left unfinished; says what goes."""
    readable, num_unreadable = files.read_json_lines(path)
    lines = [line for line in readable if isinstance(line.get("clips_seen"), int)]
    num_unreadable += len(readable) - len(lines)
    kept = [line for line in lines if line["clips_seen"] <= resumed_at]
    if num_unreadable:
        print(f"{path}: removing {num_unreadable} unreadable line(s)", flush=True)
    if len(kept) < len(lines):
        print(f"{path}: removing {len(lines) - len(kept)} line(s) beyond clip {resumed_at:,}", flush=True)
    return kept


def _begin_anew(path: Path, lines: Iterable[files.Json], check: Callable[[], None]) -> TextIO:
    """Write a log anew and go on writing to it: an earlier writer which wakes up appends to a file without a name.

    So does this one, once its successor has written the log anew: the file stays open and is never looked up by name.
    """
    with files.finish(path) as temporary:
        file = temporary.open("w", encoding="utf-8")
        try:
            file.writelines(json.dumps(line) + "\n" for line in lines)
            file.flush()
            files.flush(temporary)
            check()
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk refuses once more
                file.close()
            raise
    unfinished.sweep(path.parent)
    return file


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The same values with null for numbers that are not finite (JSON has no NaN), floats to 7 digits."""
    plain: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            plain[name] = _plain(value)
        elif isinstance(value, float):
            plain[name] = float(f"{value:.7g}") if math.isfinite(value) else None
        else:
            plain[name] = value
    return plain


def _scalars(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    scalars: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            scalars += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and math.isfinite(value):
            scalars.append((prefix + name, float(value)))
    return scalars
