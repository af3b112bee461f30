"""Which checkpoint is sampled from: written down once, for all tasks that fill the same sample sets.

    jobs/sampling/1a2b3c4d-000003/choice.json

One numbered folder for each launch of the stage `sample`, by the settings that it samples with. A folder gets its name
by a rename, which only the first of several writers of a number can do.
"""

import errno
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from vdt_hpc import files
from vdt_hpc.errors import UserError

CHOICE = "choice.json"


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
        pattern = re.compile(rf"{self._settings}-(\d{{6,}})")
        names = [path.parent.name for path in self._folder.glob(f"{self._settings}-*/{CHOICE}")]
        numbers = sorted(int(match[1]) for name in names if (match := pattern.fullmatch(name)))
        return {number: _read(self._path(number) / CHOICE) for number in numbers}

    def add(self, number: int, choice: Choice) -> bool:
        """Write the choice of that number down; False where another process was first.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        try:
            with files.finish_folder(self._path(number)) as folder:
                files.write_json(folder / CHOICE, asdict(choice))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
        return True

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._settings}-{number:06d}"


def _read(path: Path) -> Choice:
    content = files.read_json(path)
    if set(content) != {"checkpoint", "launch"}:
        raise UserError(f"{path} is damaged; remove it and run the stage sample again")
    return Choice(str(content["checkpoint"]), str(content["launch"]))
