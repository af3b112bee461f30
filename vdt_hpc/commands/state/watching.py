"""Lines that are shown again and again, until Ctrl-C: redrawn in place on a terminal, printed anew elsewhere."""

import shutil
import sys
import time
from collections.abc import Callable, Iterable

from vdt_hpc.commands.words import fitted, now

_HOME, _END_OF_LINE, _END_OF_SCREEN, _ALL = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"


def terminal_columns() -> int:
    """Width of the terminal; 80 where there is none and nobody has set COLUMNS."""
    return shutil.get_terminal_size().columns


def watch(look: Callable[[], Iterable[str]], every_s: float) -> None:
    """Show what `look` finds, and look again after some seconds; ends by KeyboardInterrupt alone.

    Args:
        look: gives lines; raises what ends the watch.
        every_s: seconds between two looks.
    """
    is_first = True
    while True:
        lines = [f"{now():%Y-%m-%d %H:%M:%S}, every {every_s:g} s; Ctrl-C ends", *look()]
        if sys.stdout.isatty():
            _redraw(lines, is_first)
        else:
            print("\n".join(lines), end="\n\n", flush=True)
        is_first = False
        time.sleep(every_s)


def _redraw(lines: list[str], is_first: bool) -> None:
    """Draw over what was there, line by line, so that nothing flickers; what does not fit is counted."""
    columns, rows = shutil.get_terminal_size()
    shown = lines[: rows - 1]
    if len(lines) > len(shown):
        shown[-1] = f"... {len(lines) - len(shown) + 1} more lines; a taller terminal shows them"
    drawn = "".join(f"{fitted(line, columns)}{_END_OF_LINE}\n" for line in shown)
    print(f"{_ALL if is_first else ''}{_HOME}{drawn}{_END_OF_SCREEN}", end="", flush=True)
