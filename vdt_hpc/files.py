"""The one way to finish a file: write beside it, flush to the disk, rename. What carries its name is whole."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vdt_hpc import unfinished
from vdt_hpc.errors import UserError

Json = dict[str, Any]


@contextlib.contextmanager
def finish(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, flush it and rename it to `path`.

    When the block fails, the temporary file is removed and `path` is what it was before.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with finish_all([path]) as (temporary,):
        yield temporary


@contextlib.contextmanager
def finish_all(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """As `finish`, for several files of one folder: each is written and flushed before the first is renamed."""
    folder = paths[0].parent
    temporaries = [unfinished.name_for(path) for path in paths]
    with explained(paths[0]):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield temporaries
            for temporary in temporaries:
                flush(temporary)
            for temporary, path in zip(temporaries, paths, strict=True):
                os.replace(temporary, path)
            flush(folder)
        finally:
            for temporary in temporaries:
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def finish_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """As `finish`, for a whole folder; every file in it is flushed before the rename. Killed writers' leftovers go.

    Args:
        path: a folder that does not exist yet, or is empty.
        replace: what has the name already moves aside right before the rename, and is removed after it.
    """
    temporary, aside = unfinished.name_for(path), path.with_name(f".{path.name}.replaced")
    with explained(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            for file in temporary.rglob("*"):
                flush(file)
            flush(temporary)
            if replace and path.exists():
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(path, aside)
            os.replace(temporary, path)
            flush(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if aside.exists() and not path.exists():  # the rename has failed
                os.replace(aside, path)
        shutil.rmtree(aside, ignore_errors=True)
    unfinished.sweep(path.parent)


def flush(path: Path) -> None:
    """Ask the operating system to put a file's bytes, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move(written: Path, path: Path) -> None:
    """Finish a file that was written under another name of the same folder: flush it, then rename it to `path`.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with explained(path):
        flush(written)
        os.replace(written, path)
        flush(path.parent)


def write_json(path: Path, content: Json) -> None:
    """Write an indented JSON file, finished by rename."""
    write_text(path, json_text(content))


def json_text(content: Json) -> str:
    """What a file holds that is one JSON object."""
    return json.dumps(content, indent=1) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a text file, finished by rename, and remove what killed writers left unfinished in its folder.

    Whatever fills a folder ends with a small file in it that says so.
    """
    with finish(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    unfinished.sweep(path.parent)


def read_json(path: Path) -> Json:
    """Read a JSON file that holds an object.

    Raises:
        UserError: the file cannot be read or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove it and run the stage that wrote it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (no JSON object); remove it and run the stage that wrote it again")
    return content


def read_json_lines(path: Path) -> tuple[list[Json], int]:
    """The lines of a file that hold a JSON object each, and how many others there are: a killed process may leave the
    last one unfinished. A file that is not there has none.
    """
    if not path.exists():
        return [], 0
    readable, num_unreadable = [], 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict):
            readable.append(line)
        else:
            num_unreadable += 1
    return readable, num_unreadable


def append_json_line(path: Path, line: Mapping[str, object]) -> None:
    """Add a line with a JSON object to a file and put it on the disk; several processes may append to one file.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            unfinished = file.read(1) not in (b"", b"\n")  # a killed process may leave half a line
            file.write(b"\n" * unfinished + json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what a user can mend of an OSError into one line; `path` is what is being written.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:  # h5py raises OSError too, with the number only in its text
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        if full:
            raise UserError(f"the disk is full: cannot write {path}; free some space and run this again") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(f"cannot write {path}: {error.strerror}; choose a root that you may write to") from None
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG):
            raise UserError(f"cannot write {path}: {error.strerror}; choose another place or name") from None
        raise


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an OSError into one line; `path` is what is being read.

    Raises:
        UserError: it cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror}") from None
