"""From the bytes of a PNG or JPEG to pixels, and a frame's size from its first bytes.

Legend: H x W pixels as filmed. Always RGB uint8: what would have to be converted to it is refused, since there is more
than one way to do so.
"""

from __future__ import annotations

import io
import struct
import zlib

import kornia_rs.image
import numpy as np
import numpy.typing as npt
from PIL import Image

from vdt_hpc.errors import UserError

ByteArray = npt.NDArray[np.uint8]

_JPEG_PREFIX_BYTES = 1 << 17
PREFIX_BYTES = {".png": 33, ".jpg": _JPEG_PREFIX_BYTES, ".jpeg": _JPEG_PREFIX_BYTES}
"""First bytes of a file that ``frame_size`` wants, by suffix. A PNG's signature and header chunk are 33 long; in a
JPEG, notes of the camera and a small preview may stand before the size."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_HEADER = struct.Struct(">I4sIIBBBBBI")
"""Length and name of the chunk; width, height, bits, colour, compression, filter, interlacing; checksum."""
_PNG_WAYS = ((0, 0, 0), (0, 0, 1))
"""Compression, filter and interlacing that exist."""
_PNG_COLOURS = {
    0: "grey instead of RGB",
    2: None,
    3: "a palette instead of RGB",
    4: "grey instead of RGB and has an alpha channel",
    6: "has an alpha channel",
}
"""What is wrong with each colour type."""
_JPEG_COLOURS = {"RGB": None, "L": "grey instead of RGB"}
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for a damaged file."""


class BadFrame(Exception):
    """Why a file is no frame, in a few words that follow its name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode(content: bytes, name: str) -> ByteArray:
    """Pixels (H, W, 3) of a PNG or JPEG file's bytes; ``name`` is the file's in errors.

    A PNG's chunks are verified by their checksums; a JPEG has none. The interpreter's lock is kept while a PNG is
    decoded: many are decoded at once by processes, not threads.

    Raises:
        UserError: no PNG or JPEG, not 8-bit RGB, damaged, or cut short.
    """
    try:
        frame_size(content)
        return _png_pixels(content) if content.startswith(_PNG_SIGNATURE) else _jpeg_pixels(content)
    except BadFrame as fault:
        raise UserError(f"cannot read the frame {name}: {fault.reason}; replace the file") from None


def frame_size(prefix: bytes) -> tuple[int, int]:
    """Height and width in pixels, from the first ``PREFIX_BYTES`` of a file (or more); no pixel is decoded.

    Raises:
        BadFrame: no PNG or JPEG, not 8-bit RGB, or a damaged header.
    """
    if prefix.startswith(_PNG_SIGNATURE):
        return _png_size(prefix)
    if prefix.startswith(_JPEG_SIGNATURE):
        return _jpeg_size(prefix)
    raise BadFrame("no PNG or JPEG" if prefix else "empty")


def _png_size(prefix: bytes) -> tuple[int, int]:
    header = prefix[len(_PNG_SIGNATURE) :][: _PNG_HEADER.size]
    if len(header) < _PNG_HEADER.size:
        raise BadFrame("cut short in its header")
    length, chunk, width_px, height_px, bits, colour, *ways, crc = _PNG_HEADER.unpack(header)
    whole = (length, chunk, zlib.crc32(header[4:-4])) == (13, b"IHDR", crc)
    if not whole or 0 in (height_px, width_px) or tuple(ways) not in _PNG_WAYS or colour not in _PNG_COLOURS:
        raise BadFrame("its header is damaged")
    faults = (_PNG_COLOURS[colour], "16 bits per channel instead of 8" if bits == 16 else None)
    if any(faults):
        raise BadFrame(" and ".join(filter(None, faults)))
    if bits != 8:
        raise BadFrame("its header is damaged")
    return height_px, width_px


def _jpeg_size(prefix: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(prefix), formats=("JPEG",)) as image:
            width_px, height_px = image.size
            fault = _JPEG_COLOURS.get(image.mode, f"{image.mode} instead of RGB")
    except _PILLOW_ERRORS:
        raise BadFrame(f"its header is damaged, cut short or longer than {_JPEG_PREFIX_BYTES} bytes") from None
    if fault:
        raise BadFrame(fault)
    return height_px, width_px


def _png_pixels(content: bytes) -> ByteArray:
    try:
        # The fastest of those that tests/benchmarks/decode.py compares and that come for every Python we run on.
        image = kornia_rs.image.Image.decode(content, "RGB")
    except Exception as error:  # kornia-rs raises no narrower class
        raise BadFrame(_damaged(error)) from None
    return np.asarray(image)


def _jpeg_pixels(content: bytes) -> ByteArray:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            return np.asarray(image)
    except _PILLOW_ERRORS as error:
        raise BadFrame(_damaged(error)) from None


def _damaged(error: Exception) -> str:
    return f"its pixels are damaged ({' '.join(str(error).split())})"
