"""Which checkpoint is sampled from: written down once, for all tasks that fill the same sample sets.

    jobs/sampling/1a2b3c4d-000003.json

One numbered file for each launch of the stage `sample`, by the settings that it samples with. Of several writers of a
number the first is kept.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from vdt_hpc import exclusive, files
from vdt_hpc.errors import UserError


@dataclass(frozen=True)
class Choice:
    """What one launch samples from."""

    checkpoint: str
    """Name of the checkpoint's folder."""
    launch: str
    """Name of the launch: the same for all tasks of a job or of its array, and after its restarts."""


class Choices:
    """The choices for one way to set up sampling.

    Args:
        folder: the run's folder of choices.
        settings: short name of what is sampled, and how.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        self._folder, self._settings = folder, settings

    def read(self) -> dict[int, Choice]:
        """Every choice by its number, in order.

        Raises:
            UserError: one is damaged or cannot be read.
        """
        pattern = re.compile(rf"{self._settings}-(\d{{6,}})\.json")
        names = [path.name for path in self._folder.glob(f"{self._settings}-*.json")]
        numbers = sorted(int(match[1]) for name in names if (match := pattern.fullmatch(name)))
        return {number: _read(self._path(number)) for number in numbers}

    def add(self, number: int, choice: Choice) -> bool:
        """Write the choice of that number down; False where another process was first, with another choice.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        exclusive.write_json(self._path(number), asdict(choice))
        return _read(self._path(number)) == choice

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._settings}-{number:06d}.json"


def _read(path: Path) -> Choice:
    content = files.read_json(path)
    if set(content) != {"checkpoint", "launch"}:
        raise UserError(f"{path} is damaged; remove it and run the stage sample again")
    return Choice(str(content["checkpoint"]), str(content["launch"]))
