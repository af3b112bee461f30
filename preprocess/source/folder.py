"""Files in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from preprocess.source.files import Fault, FileStore, Listing, SourceFile, Unreadable
from vdt_hpc.errors import UserError


@dataclass(frozen=True)
class Folder(FileStore):
    """A folder, whose files are read one by one."""

    path: Path

    def listing(self, top: str) -> Listing:
        """See ``FileStore.listing``."""
        if not (self.path / top).is_dir():
            raise UserError(f"the folder {self.path / top} does not exist")
        faults: list[Fault] = []
        files = sorted(self._walk(self.path / top, faults, set()), key=lambda file: file.name)
        return Listing(tuple(files), tuple(faults))

    def read(self, file: SourceFile) -> bytes:
        """See ``FileStore.read``."""
        content = self._read(file, -1)
        if len(content) != file.num_bytes:
            raise Unreadable(f"has {len(content):,} bytes, but had {file.num_bytes:,} when the frames were indexed")
        return content

    def read_start(self, file: SourceFile, num_bytes: int) -> bytes:
        """See ``FileStore.read_start``."""
        return self._read(file, num_bytes)

    def stamp(self, listing: Listing, watched: Iterable[str] = ()) -> str:
        """From times of change: a file that comes or goes changes its folder's."""
        parents = {parent for file in listing.files for parent in PurePosixPath(file.name).parents}
        times = [self._time(name) for name in (*sorted(map(str, parents)), *sorted(watched))]
        return sha256("".join(times).encode()).hexdigest()

    def _time(self, name: str) -> str:
        try:
            return f"{name}\t{(self.path / name).stat().st_mtime_ns}\n"
        except OSError:
            return f"{name}\tgone\n"

    def _read(self, file: SourceFile, num_bytes: int) -> bytes:
        try:
            with (self.path / file.name).open("rb", buffering=0) as opened:
                return opened.read(num_bytes)
        except OSError as error:
            raise Unreadable(f"cannot be read ({error.strerror})") from None

    def _walk(self, folder: Path, faults: list[Fault], seen: set[tuple[int, int]]) -> Iterator[SourceFile]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            faults.append(Fault("unreadable", f"cannot look into the folder {folder}: {error.strerror}"))
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                found = entry.stat()
                if not entry.is_dir():
                    yield SourceFile(Path(entry.path).relative_to(self.path).as_posix(), found.st_size)
                elif (found.st_dev, found.st_ino) not in seen:  # links may lead in a circle
                    seen.add((found.st_dev, found.st_ino))
                    yield from self._walk(Path(entry.path), faults, seen)
            except OSError as error:
                faults.append(Fault("unreadable", f"cannot look at {entry.path}: {error.strerror}"))
