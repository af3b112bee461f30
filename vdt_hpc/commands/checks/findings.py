"""What a look before the start has found: lines for people, and a refusal where something is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vdt_hpc.commands.words import columns
from vdt_hpc.errors import UserError

Level = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    """`fault`: the stages would end with an error, or never start."""
    subject: str
    """What was looked at, in a word or three."""
    message: str
    """What was found; of a fault also what to do. A sentence that stands without the subject."""


def ok(subject: str, message: str) -> Finding:
    """Something that is in order."""
    return Finding("ok", subject, message)


def warning(subject: str, message: str) -> Finding:
    """Something that may go wrong, or costs more than it must."""
    return Finding("warning", subject, message)


def fault(subject: str, message: str) -> Finding:
    """Something that must be mended first."""
    return Finding("fault", subject, message)


def render(findings: Sequence[Finding]) -> str:
    """One aligned line per finding, in their order, and a last line that counts."""
    lines = columns([(each.level, each.subject, each.message) for each in findings])
    counts = {level: sum(each.level == level for each in findings) for level in ("fault", "warning")}
    return "\n".join([*lines, ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items())])


def refuse(findings: Sequence[Finding]) -> None:
    """Do nothing if there is no fault.

    Raises:
        UserError: there is one: the first in full, and how many more there are.
    """
    faults = [each.message for each in findings if each.level == "fault"]
    if faults:
        more = f" (and {len(faults) - 1} more; --check lists all)" if len(faults) > 1 else ""
        raise UserError(faults[0] + more)
