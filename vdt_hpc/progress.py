"""Progress of long work: a bar on a terminal, a plain line now and then in a log file."""

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0
TERMINAL_COLUMNS = "VDT_HPC_TERMINAL_COLUMNS"
"""Set by a launcher that shows this process's output on a terminal: draw a bar of that width though it is a file."""


class Progress:
    """Counts finished units of work; use as a context manager.

    Args:
        what: verb and noun, such as `encode frames`.
        total: units of the whole work.
        unit: what is counted, such as `clips`.
        done: units that an earlier process finished; they do not count for the speed.
        note: a remark for each line of a log file, asked for when it is printed.
    """

    def __init__(self, what: str, total: int, unit: str, done: int = 0, note: Callable[[], str] = lambda: "") -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = self._start_done = done
        self._note = note
        self._shown: int | None = None
        self._start = self._last_line = time.monotonic()
        columns = os.environ.get(TERMINAL_COLUMNS)
        self._bar = None
        if columns or sys.stdout.isatty():
            self._bar = tqdm(
                total=total, initial=done, unit=f" {unit}", desc=what, file=sys.stdout, mininterval=0.5,
                ncols=int(columns) if columns else None, dynamic_ncols=not columns,
            )  # fmt: skip

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and self._done != self._shown:
            self._print_line()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count finished units; `note` is a short remark such as `loss 0.123`."""
        self._done += units
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(units)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._print_line(note)

    def _print_line(self, note: str = "") -> None:
        now = time.monotonic()
        self._last_line, self._shown = now, self._done
        rate = (self._done - self._start_done) / max(now - self._start, 1e-9)
        left_s = (self._total - self._done) / rate if rate > 0 else 0.0
        speed = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
        parts = [f"{self._what}: {self._done:,}/{self._total:,} {self._unit}", f"{speed}/s"]
        if self._done < self._total:
            parts.append(f"{left_s / 60:.1f} min left" if left_s >= 60 else f"{left_s:.0f} s left")
        print(", ".join([*parts, *filter(None, (note, self._note()))]), flush=True)
