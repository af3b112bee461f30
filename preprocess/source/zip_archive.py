"""A zip archive, read in place: members are found by its directory and inflated in memory (APPNOTE.TXT, 4.3)."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator

from preprocess.source.archive import Archive
from preprocess.source.files import Fault, Listing, SourceFile, Unreadable, members
from vdt_hpc.errors import UserError

_HEADER = struct.Struct("<4s22xHH")
"""A member's local header: signature, then, at its end, the lengths of the name and of the extra field."""
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1
_SLACK_BYTES = 1024
"""More compressed bytes than are needed for the start of a member, whatever its first block looks like."""


class ZipArchive(Archive):
    """A zip; a file's place is (offset of its header, compressed size, method, CRC-32)."""

    def listing(self, top: str) -> Listing:
        """See ``FileStore.listing``."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                found = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, OSError, struct.error, ValueError) as error:
            raise UserError(
                f"cannot read {self.path} as a zip ({error}); is it whole? Compare its size, or fetch it again"
            ) from None
        faults: list[Fault] = []
        files = sorted(members(self._usable(found, faults), top, faults), key=lambda file: file.name)
        return Listing(tuple(files), tuple(faults))

    def read(self, file: SourceFile) -> bytes:
        """See ``FileStore.read``."""
        start, num_compressed, method, crc = self._data_of(file)
        content = self.bytes_at(start, num_compressed)
        if method == zipfile.ZIP_DEFLATED:
            try:
                content = zlib.decompress(content, -zlib.MAX_WBITS, file.num_bytes or 1)
            except zlib.error as error:
                raise Unreadable(f"is damaged in the archive ({error})") from None
        if len(content) != file.num_bytes or zlib.crc32(content) != crc:
            raise Unreadable("is damaged in the archive (its checksum, CRC-32, is another)")
        return content

    def read_start(self, file: SourceFile, num_bytes: int) -> bytes:
        """See ``FileStore.read_start``."""
        start, num_compressed, method, _ = self._data_of(file)
        if method == zipfile.ZIP_STORED:
            return self.bytes_at(start, min(num_bytes, num_compressed))
        content = self.bytes_at(start, min(num_bytes + _SLACK_BYTES, num_compressed))
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, num_bytes)
        except zlib.error as error:
            raise Unreadable(f"is damaged in the archive ({error})") from None

    def _usable(self, found: list[zipfile.ZipInfo], faults: list[Fault]) -> Iterator[tuple[str, SourceFile]]:
        for member in found:
            if member.is_dir():
                continue
            if member.flag_bits & _ENCRYPTED:
                faults.append(Fault("unreadable", f"{member.filename} is encrypted"))
            elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                how = f"compressed by method {member.compress_type}"
                faults.append(Fault("unreadable", f"{member.filename} is {how}; pack the zip with deflate, or store"))
            else:
                place = (member.header_offset, member.compress_size, member.compress_type, member.CRC)
                yield member.orig_filename, SourceFile(member.filename, member.file_size, place)

    def _data_of(self, file: SourceFile) -> tuple[int, int, int, int]:
        """Where a member's data begins, its length there, its method and its CRC-32."""
        header_start, num_compressed, method, crc = file.place
        signature, num_name, num_extra = _HEADER.unpack(self.bytes_at(header_start, _HEADER.size))
        if signature != _SIGNATURE:
            raise Unreadable("is not where the archive's directory says")
        return header_start + _HEADER.size + num_name + num_extra, num_compressed, method, crc
