"""An uncompressed tar archive, read in place; its headers are walked through once, skipping what lies between."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from preprocess.source.archive import Archive
from preprocess.source.files import Fault, Listing, SourceFile, members
from vdt_hpc.errors import UserError


class TarArchive(Archive):
    """A tar; a file's place is (offset of its data,)."""

    def listing(self, top: str) -> Listing:
        """See ``FileStore.listing``."""
        faults: list[Fault] = []
        try:
            with tarfile.open(self.path, "r:") as archive:
                files = sorted(members(self._files(archive, faults), top, faults), key=lambda file: file.name)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise UserError(
                f"cannot read {self.path} as a tar ({error}); is it whole? A compressed one cannot be read in place: "
                "unpack it to .tar"
            ) from None
        return Listing(tuple(files), tuple(faults))

    def read(self, file: SourceFile) -> bytes:
        """See ``FileStore.read``."""
        return self.bytes_at(file.place[0], file.num_bytes)

    def read_start(self, file: SourceFile, num_bytes: int) -> bytes:
        """See ``FileStore.read_start``."""
        return self.bytes_at(file.place[0], min(num_bytes, file.num_bytes))

    def _files(self, archive: tarfile.TarFile, faults: list[Fault]) -> Iterator[tuple[str, SourceFile]]:
        for member in archive:
            if member.isreg() and not member.issparse():
                yield member.name, SourceFile(member.name, member.size, (member.offset_data,))
            elif not member.isdir():
                faults.append(Fault("unreadable", f"{member.name} is no plain file, which is not read in a tar"))
