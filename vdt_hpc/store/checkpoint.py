"""Checkpoints on disk: folders of safetensors, made whole by the JSON file that is written last.

    checkpoints/clips-000128000/  model.safetensors  ema.safetensors  optimizer.safetensors  checkpoint.json

Saved by several ranks, each part is in as many pieces (`ema-00001-of-00004.safetensors`); any number of ranks reads
them. A folder without a valid `checkpoint.json`, or whose files have other hashes than it says, is named, skipped, and
the one before it is taken. No pickle is ever written or read. Looking at what is there needs no torch.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdt_hpc import files
from vdt_hpc.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MARK = "checkpoint.json"
VERSION = 1
PARTS = ("model", "ema", "optimizer")
_NAME = re.compile(r"clips-(\d{9,})")
_PIECE = re.compile(rf"({'|'.join(PARTS)})(?:-(\d{{5}})-of-(\d{{5}}))?\.safetensors")


class Damaged(Exception):
    """Why a folder is no valid checkpoint."""


@dataclass(frozen=True)
class Provenance:
    """What a checkpoint belongs to, and what made it."""

    clips_seen: int
    """Clips that training had seen: its whole state beside the tensors."""
    signature: str
    """`signature` of the run configuration."""
    latents_fingerprint: str
    code_commit: str
    partition: str
    """Name of the partition that trained it; says nothing about what was computed."""
    world_size: int


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose JSON file and file sizes are in order; `verify` reads the files too."""

    path: Path
    provenance: Provenance
    sha256: Mapping[str, str]
    """Hash of each file."""

    @property
    def clips_seen(self) -> int:
        """Clips that training had seen."""
        return self.provenance.clips_seen

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    def verify(self) -> None:
        """Compare every file with its hash, and look at its header.

        Raises:
            Damaged: one differs, cannot be read or is no safetensors file.
        """
        for file, expected in self.sha256.items():
            try:
                found = files.sha256(self.path / file)
            except OSError as error:
                raise Damaged(f"{file} cannot be read ({error.strerror})") from None
            if found != expected:
                raise Damaged(f"{file} does not match its SHA-256")
            if not _has_header(self.path / file):
                raise Damaged(f"{file} is no safetensors file")

    def load(self, part: str) -> "dict[str, Tensor]":
        """Tensors of one part (`model`, `ema` or `optimizer`), on the CPU, mapped from the file."""
        from safetensors.torch import load_file

        assert part in PARTS, part
        pieces = sorted(file for file in self.sha256 if _part_of(file) == part)
        return {name: tensor for file in pieces for name, tensor in load_file(self.path / file).items()}


def folder_name(clips_seen: int) -> str:
    """Name of a checkpoint's folder; names sort by clips."""
    return f"clips-{clips_seen:09d}"


def read(path: Path) -> Checkpoint:
    """Read what a checkpoint says of itself and compare the sizes of its files.

    Raises:
        Damaged: it is no whole checkpoint.
    """
    try:
        content = files.read_json(path / MARK) if (path / MARK).exists() else None
    except UserError as error:
        raise Damaged(str(error)) from None
    except OSError as error:
        raise Damaged(f"it cannot be read ({error.strerror})") from None
    if content is None:
        raise Damaged(f"it has no {MARK}")
    if content.get("version") != VERSION:
        raise Damaged(f"its {MARK} has version {content.get('version')!r}, not {VERSION}")
    try:
        provenance = Provenance(**{field.name: content[field.name] for field in fields(Provenance)})
        marks: dict[str, dict[str, Any]] = content["files"]
        if not _complete(marks):
            raise Damaged(f"its {MARK} does not name the files of a checkpoint")
        hashes = {file: str(mark["sha256"]) for file, mark in marks.items()}
        sizes = {file: int(mark["num_bytes"]) for file, mark in marks.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"its {MARK} is incomplete ({error!r})") from None
    if path.name != folder_name(provenance.clips_seen):
        raise Damaged(f"its {MARK} speaks of {folder_name(provenance.clips_seen)}")
    for file, num_bytes in sizes.items():
        try:
            found = (path / file).stat()
        except FileNotFoundError:
            raise Damaged(f"{file} is missing") from None
        except OSError as error:
            raise Damaged(f"{file} cannot be read ({error.strerror})") from None
        if found.st_size != num_bytes:
            raise Damaged(f"{file} has {found.st_size:,} bytes instead of {num_bytes:,}")
    return Checkpoint(path, provenance, hashes)


def newest(folder: Path, signature: str, verify: bool = True, say: Callable[[str], None] = print) -> Checkpoint | None:
    """The newest valid checkpoint of a run, or None; says a line for each damaged one that is skipped.

    Args:
        folder: the run's folder of checkpoints.
        signature: `signature` of the run configuration.
        verify: also read every file and compare its hash; False looks at names and sizes alone.
        say: takes the lines.

    Raises:
        UserError: a valid checkpoint belongs to another run configuration.
    """
    for path in folders(folder):
        try:
            return require(path, signature, verify)
        except Damaged as damage:
            say(f"skipping the damaged checkpoint {path}: {damage}")
    return None


def require(path: Path, signature: str, verify: bool = True) -> Checkpoint:
    """One checkpoint of a run; the arguments are those of `newest`.

    Raises:
        Damaged: it is no whole checkpoint.
        UserError: it belongs to another run configuration.
    """
    checkpoint = read(path)
    if verify:
        checkpoint.verify()
    found = checkpoint.provenance.signature
    if found != signature:
        raise UserError(
            f"the checkpoint {path} belongs to another run (signature {found}, this run has {signature}); "
            "choose another name for this run or remove the checkpoint"
        )
    return checkpoint


def folders(folder: Path) -> list[Path]:
    """Folders that are named as checkpoints, damaged or not, newest first.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; choose a root that you may use") from None
    return sorted(found, key=clips_in_name, reverse=True)


def clips_in_name(path: Path) -> int:
    """Clips that a checkpoint's folder is named after."""
    return int(path.name.removeprefix("clips-"))


def _part_of(file: str) -> str | None:
    match = _PIECE.fullmatch(file)
    return match[1] if match else None


def _complete(names: Iterable[str]) -> bool:
    """True if the files are all pieces of all parts, each once."""
    pieces: dict[str, set[tuple[int, int]]] = {part: set() for part in PARTS}
    for name in names:
        match = _PIECE.fullmatch(name)
        if match is None:
            return False
        pieces[match[1]].add((int(match[2] or 1), int(match[3] or 1)))
    return all(
        found == {(piece, len(found)) for piece in range(1, len(found) + 1)} and found for found in pieces.values()
    )


def _has_header(path: Path) -> bool:
    """True if a file begins as safetensors do, and its tensors fill the rest.

    That is: the length of a JSON object in 8 bytes, little-endian, then the object, which says where each tensor lies.
    """
    with path.open("rb") as file:
        num_bytes = int.from_bytes(file.read(8), "little")
        num_data = path.stat().st_size - 8 - num_bytes
        try:
            header = json.loads(file.read(num_bytes) if num_data >= 0 else b"")
            places = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")
            ends = [0, *(end for _, end in places)]
            return all(start == end for (start, _), end in zip(places, ends, strict=False)) and ends[-1] == num_data
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return False
