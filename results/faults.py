"""What a user must mend before the rest of an evaluation can be measured: a line each, told when it is found."""

import contextlib
from collections.abc import Iterator

from vdt_hpc.errors import CostsAPart, UserError

_MOST_SHOWN = 20


class Faults:
    """Collects mistakes that cost some numbers and leave the others."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        """Each once, as they were found."""

    def add(self, line: str) -> None:
        """Tell one; of the same line, the first time alone."""
        if line not in self.lines:
            self.lines.append(line)
            print(f"fault: {line}", flush=True)

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """A user's mistake inside ends the block alone."""
        try:
            yield
        except UserError as error:
            self.add(str(error))

    def refuse(self, told: str) -> None:
        """Do nothing where there is none.

        Args:
            told: what became of the rest.

        Raises:
            CostsAPart: one line that counts them and names the first twenty.
        """
        if not self.lines:
            return
        count = "1 fault" if len(self.lines) == 1 else f"{len(self.lines)} faults"
        more = len(self.lines) - _MOST_SHOWN
        shown = "; ".join(self.lines[:_MOST_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise CostsAPart(f"{count}: {shown}; {told}")
