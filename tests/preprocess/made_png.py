"""PNG files made byte by byte: any filter of a row, interlacing, any header."""

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
FILTERS = {"none": 0, "sub": 1, "up": 2, "average": 3, "paeth": 4}
ALL_FILTERS = tuple(FILTERS.values())
SEVEN_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Left, top, step across, step down of each pass of an interlaced picture."""


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def header(width_px, height_px, bits=8, colour=2, compression=0, interlacing=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, bits, colour, compression, 0, interlacing))


def filtered(pixels, filters):
    """Rows of (H, W, 3), each after the number of its filter; the filters take turns."""
    rows = np.pad(pixels.astype(int), ((1, 0), (1, 0), (0, 0)))
    now, left, up, corner = rows[1:, 1:], rows[1:, :-1], rows[:-1, 1:], rows[:-1, :-1]
    near_left, near_up, near_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    paeth = np.where(near_up <= near_corner, up, corner)
    paeth = np.where((near_left <= near_up) & (near_left <= near_corner), left, paeth)
    residuals = [now - guess for guess in (0 * now, left, up, (left + up) // 2, paeth)]
    content = b""
    for row in range(len(pixels)):
        kind = filters[row % len(filters)]
        content += bytes([kind]) + (residuals[kind][row] % 256).astype(np.uint8).tobytes()
    return content


def png(pixels, filters=ALL_FILTERS, interlaced=False, extra=b"", block_bytes=1000):
    """An RGB file of (H, W, 3) uint8; ``extra`` chunks stand before the pixels."""
    passes = SEVEN_PASSES if interlaced else ((0, 0, 1, 1),)
    parts = [pixels[top::down, left::across] for left, top, across, down in passes]
    stream = zlib.compress(b"".join(filtered(part, filters) for part in parts if part.size))
    blocks = [chunk(b"IDAT", stream[begin : begin + block_bytes]) for begin in range(0, len(stream), block_bytes)]
    top = header(pixels.shape[1], pixels.shape[0], interlacing=int(interlaced))
    return SIGNATURE + top + extra + b"".join(blocks) + chunk(b"IEND", b"")
