"""Checkpoints on disk: folders of safetensors, made whole by the JSON file that is written last.

    checkpoints/clips-000128000/  model.safetensors  ema.safetensors  optimizer.safetensors  checkpoint.json

A folder without a valid `checkpoint.json`, or whose files have other hashes than it says, is named, skipped, and the
one before it is taken. No pickle is ever written or read. Looking at what is there needs no torch.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
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
        """Compare every file with its hash.

        Raises:
            Damaged: one differs or cannot be read.
        """
        for file, expected in self.sha256.items():
            try:
                found = files.sha256(self.path / file)
            except OSError as error:
                raise Damaged(f"{file} cannot be read ({error.strerror})") from None
            if found != expected:
                raise Damaged(f"{file} does not match its SHA-256")

    def load(self, part: str) -> "dict[str, Tensor]":
        """Tensors of one part (`model`, `ema` or `optimizer`), on the CPU, mapped from the file."""
        from safetensors.torch import load_file

        assert part in PARTS, part
        return load_file(self.path / f"{part}.safetensors")


def folder_name(clips_seen: int) -> str:
    """Name of a checkpoint's folder; names sort by clips."""
    return f"clips-{clips_seen:09d}"


def save(folder: Path, parts: "Mapping[str, Mapping[str, Tensor]]", provenance: Provenance) -> Checkpoint:
    """Write a checkpoint: beside its place, flushed, then renamed.

    A folder of the same name (a damaged one that training has come past again) is replaced.

    Args:
        folder: the run's folder of checkpoints.
        parts: `model`, `ema` and `optimizer`, each name -> tensor; keys without wrapper prefixes.
        provenance: what goes into `checkpoint.json`.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    assert set(parts) == set(PARTS), sorted(parts)
    path = folder / folder_name(provenance.clips_seen)
    replaced = path.with_name(f".{path.name}.replaced")
    with files.finish_folder(path) as temporary:
        marks = {}
        for part, tensors in parts.items():
            file = temporary / f"{part}.safetensors"
            _write(file, tensors)
            marks[file.name] = {"sha256": files.sha256(file), "num_bytes": file.stat().st_size}
        content = {"version": VERSION, **asdict(provenance), "files": marks}
        files.write_json(temporary / MARK, content)
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            os.replace(path, replaced)
    shutil.rmtree(replaced, ignore_errors=True)
    return read(path)


def read(path: Path) -> Checkpoint:
    """Read what a checkpoint says of itself and compare the sizes of its files.

    Raises:
        Damaged: it is no whole checkpoint.
    """
    try:
        content = files.read_json(path / MARK) if (path / MARK).exists() else None
    except UserError as error:
        raise Damaged(str(error)) from None
    if content is None:
        raise Damaged(f"it has no {MARK}")
    if content.get("version") != VERSION:
        raise Damaged(f"its {MARK} has version {content.get('version')!r}, not {VERSION}")
    try:
        provenance = Provenance(**{field.name: content[field.name] for field in fields(Provenance)})
        marks: dict[str, dict[str, Any]] = content["files"]
        if {f"{part}.safetensors" for part in PARTS} != set(marks):
            raise Damaged(f"its {MARK} does not name the files of a checkpoint")
        hashes = {file: str(mark["sha256"]) for file, mark in marks.items()}
        sizes = {file: int(mark["num_bytes"]) for file, mark in marks.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"its {MARK} is incomplete ({error!r})") from None
    if path.name != folder_name(provenance.clips_seen):
        raise Damaged(f"its {MARK} speaks of {folder_name(provenance.clips_seen)}")
    for file, num_bytes in sizes.items():
        if not (path / file).is_file():
            raise Damaged(f"{file} is missing")
        if (path / file).stat().st_size != num_bytes:
            raise Damaged(f"{file} has {(path / file).stat().st_size:,} bytes instead of {num_bytes:,}")
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
            checkpoint = read(path)
            if verify:
                checkpoint.verify()
        except Damaged as damage:
            say(f"skipping the damaged checkpoint {path}: {damage}")
            continue
        found = checkpoint.provenance.signature
        if found != signature:
            raise UserError(
                f"the checkpoint {path} belongs to another run (signature {found}, this run has {signature}); "
                "choose another name for this run or remove the checkpoint"
            )
        return checkpoint
    return None


def load_ema(folder: Path, signature: str) -> "tuple[Checkpoint, dict[str, Tensor]]":
    """The averaged weights of the newest valid checkpoint, with the model's keys, fp32 on the CPU.

    Raises:
        UserError: there is no valid checkpoint, or it belongs to another run configuration.
    """
    checkpoint = newest(folder, signature)
    if checkpoint is None:
        raise UserError(f"no valid checkpoint in {folder}; run the stage train first")
    return checkpoint, checkpoint.load("ema")


def retain(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` whole checkpoints; damaged ones newer than the oldest kept stay to be looked at.

    The newest whole one is always kept.
    """
    kept = 0
    for path in folders(folder):
        if kept >= max(keep, 1):
            shutil.rmtree(path)
            continue
        try:
            read(path)
        except Damaged:
            continue
        kept += 1


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written; only the run's one writer may call this."""
    for pattern in (".clips-*.tmp", ".clips-*.replaced"):
        for path in folder.glob(pattern):
            shutil.rmtree(path)


def folders(folder: Path) -> list[Path]:
    """Folders that are named as checkpoints, damaged or not, newest first."""
    if not folder.is_dir():
        return []
    numbers = {path: int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return sorted(numbers, key=lambda path: numbers[path], reverse=True)


def _write(file: Path, tensors: "Mapping[str, Tensor]") -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, file)
    except SafetensorError as error:  # its own kind of error, the system's number only in the text
        full = "No space left" in str(error) or f"code: {errno.ENOSPC}" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(file)) from error
