"""What a report cannot show: a note with the file and the reason, on the page and in what the stage says at its end."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.stages import StageResult

Section = Literal["results", "samples", "training", "provenance"]
"""Where on the page a note stands."""


class NotThere(UserError):
    """What would be shown is gone, or no longer belongs to the numbers; no file is damaged."""


@dataclass(frozen=True)
class _Note:
    section: Section
    text: str
    """A sentence without its full stop."""
    is_damage: bool
    """Whether a file is damaged."""


class Notes:
    """The notes of one report, in the order in which they came."""

    def __init__(self) -> None:
        self._notes: dict[_Note, None] = {}

    def add(self, section: Section, text: str, is_damage: bool = False) -> None:
        """Note something; what was noted already stays one note.

        Args:
            section: of the page.
            text: a sentence without its full stop.
            is_damage: whether a file is damaged.
        """
        self._notes[_Note(section, text, is_damage)] = None

    @contextlib.contextmanager
    def instead_of(self, section: Section, what: str) -> Iterator[None]:
        """Read something in the block; where that ends in a UserError, note the reason in its place.

        Nothing is written in the block: a disk that is full is no reason to leave out what could be read.

        Args:
            section: of the page.
            what: subject and verb, such as `The loss curve is`.
        """
        try:
            yield
        except UserError as error:
            self.add(section, f"{what} not shown: {error}", is_damage=not isinstance(error, NotThere))

    def of(self, section: Section) -> list[str]:
        """The sentences of a section of the page."""
        return [f"{note.text}." for note in self._notes if note.section == section]

    def to_markdown(self) -> list[str]:
        """Lines of a section that follows the tables and tells what they lack; none where they lack nothing."""
        lines = [*self.of("results"), *self.of("provenance")]
        return ["## Not shown", "", *(f"- {line}" for line in lines), ""] if lines else []

    def result(self, done: str, outputs: Mapping[str, str]) -> StageResult:
        """What the stage says at its end: what it did, and every note.

        Raises:
            UserError: a file is damaged; all that could be shown is written all the same.
        """
        told = "; ".join([done, *(note.text for note in self._notes)])
        if any(note.is_damage for note in self._notes):
            raise UserError(f"{told}; all else is in {outputs['page']}")
        return StageResult(told, outputs=dict(outputs))
