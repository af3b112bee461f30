"""The table of pretrained weights: what there is, from where, and how its bytes are told from others."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict, weights
from vdt_hpc.experiment.paths import checkout, weights_dir
from vdt_hpc.experiment.section import PositiveInt, Section

HUB_ENDPOINT = "HF_ENDPOINT"
"""The variable by which the hub's own client is sent to a mirror."""

Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
Url = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9_.:-]+(/[!-~]*)?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


def _hub_name(name: str) -> str:
    if not weights.is_hub_name(name):
        raise ValueError(f"{name} is no OWNER/MODEL that the hub takes")
    return name


class TableFile(Section):
    """One file of some weights."""

    name: Name
    """Its name in the folder of weights."""
    urls: tuple[Url, ...]
    """Where it can be fetched, tried in this order."""
    size_bytes: PositiveInt | None = None
    """Its size, where it is known."""
    sha256: Sha256 | None = None
    """SHA-256 or its first digits, at least 8. Null: not known; the one that came first is recorded and trusted."""


class TableEntry(Section):
    """Weights that belong together."""

    name: Annotated[str, Field(pattern=r"^\w[\w./-]*$")]
    """How the command line calls them."""
    purpose: str
    """What they are for."""
    licence: str
    """Their licence."""
    hub: Annotated[str, AfterValidator(_hub_name)] | None = None
    """Name of the model on the hub, and of the folder of its files. Null: they lie at the top of the cache."""
    files: Annotated[tuple[TableFile, ...], Field(min_length=1)]

    def wanted(self) -> "list[Wanted]":
        """Its files, each with its place."""
        folder = weights_dir() / self.hub if self.hub else weights_dir()
        return [Wanted(self, file, folder / file.name) for file in self.files]


class Table(Section):
    """All weights that are known."""

    weights: tuple[TableEntry, ...]

    def choose(self, names: Sequence[str]) -> list[TableEntry]:
        """The entries of these names, each once, or all; a model on the hub may be given by its name there.

        Raises:
            UserError: a name is unknown.
        """
        if not names:
            return list(self.weights)
        by_name = {name: entry for entry in self.weights for name in (entry.name, entry.hub) if name}
        chosen = []
        for name in names:
            if name not in by_name and not weights.is_hub_name(name):
                known = ", ".join(entry.name for entry in self.weights)
                raise UserError(
                    f"unknown weights {name!r}; known: {known}, or OWNER/MODEL of an autoencoder on the hub"
                )
            chosen.append(by_name.get(name) or _of_hub(name))
        return list({entry.name: entry for entry in chosen}.values())


@dataclass(frozen=True)
class Wanted:
    """A file of the table, and its place on this machine."""

    entry: TableEntry
    file: TableFile
    path: Path

    @property
    def label(self) -> str:
        """How messages call it: the weights' name, and the file's where there are several."""
        return self.entry.name if len(self.entry.files) == 1 else f"{self.entry.name}/{self.file.name}"


def load(path: Path | None = None) -> Table:
    """The project's table, or another one.

    Raises:
        UserError: as `strict.load`.
    """
    return strict.load(Table, path or checkout() / "configs" / "weights.yaml")


def _of_hub(name: str) -> TableEntry:
    endpoint = (os.environ.get(HUB_ENDPOINT) or "https://huggingface.co").rstrip("/")
    addresses = {file: f"{endpoint}/{name}/resolve/main/{file}" for file in weights.AUTOENCODER_FILES}
    tree: strict.Tree = {
        "name": name,
        "hub": name,
        "purpose": "an autoencoder on the hub that is not in the table",
        "licence": "see the hub",
        "files": [{"name": file, "urls": [url]} for file, url in addresses.items()],
    }
    return strict.validate(TableEntry, tree, origin=f"{name} at {endpoint}")
