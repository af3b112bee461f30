"""What a check has found: each line is printed as it comes, and faults are counted up at the end."""

from __future__ import annotations

from pathlib import Path

from vdt_hpc.errors import UserError

_MOST_FAULTS_SHOWN = 20


class Findings:
    """Collects what was checked, what was not, and what is wrong."""

    def __init__(self) -> None:
        self.checked: list[str] = []
        """What is as it should be."""
        self.unchecked: list[str] = []
        """What could not be looked at, and why."""
        self.faults: list[str] = []
        """What is wrong."""

    def check(self, line: str) -> None:
        """Tell that something is as it should be."""
        self.checked.append(line)
        print(f"checked: {line}", flush=True)

    def leave(self, line: str) -> None:
        """Tell that something could not be looked at, and why."""
        self.unchecked.append(line)
        print(f"NOT checked: {line}", flush=True)

    def fault(self, line: str) -> None:
        """Tell that something is wrong."""
        self.faults.append(line)
        print(f"fault: {line}", flush=True)

    def count(self) -> str:
        """How many faults there are, in words."""
        return "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"

    def refuse(self, folder: Path, remedy: str) -> None:
        """Do nothing where there is no fault.

        Raises:
            UserError: one line that counts the faults and names the first twenty.
        """
        if not self.faults:
            return
        shown = "; ".join(self.faults[:_MOST_FAULTS_SHOWN])
        more = len(self.faults) - _MOST_FAULTS_SHOWN
        raise UserError(f"{self.count()} in {folder}: {shown}{f'; and {more} more' if more > 0 else ''}; {remedy}")

    def summary(self) -> str:
        """Everything that was checked, and what was not, in one line."""
        return "; ".join([*self.checked, *(f"NOT checked: {line}" for line in self.unchecked)])
