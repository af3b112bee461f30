"""Folders packed into archives, and ways to damage what they hold."""

import tarfile
import zipfile


def to_zip(folder, path, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def to_tar(folder, path, mode="w"):
    with tarfile.open(path, mode) as archive:
        archive.add(folder, ".")
    return path


def flip_byte(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(bytes(content))
