"""The frames that videos of a film show: clips side by side, truth above sample above their difference.

Legend: N clips, T frames, H x W pixels of a clip.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from results.film import Film
from vdt_hpc import pictures
from vdt_hpc.pictures import BoolArray
from vdt_hpc.store.latents import ByteArray

DIFFERENCE_GAIN = 2
"""Factor on the difference of sample and truth."""
_GROUND, _INK = (24, 26, 30), (214, 217, 222)
_GREY = 128
_LEAST_PX, _MOST_PX = 128, 256
"""A tile's longer side: smaller frames are magnified by a whole factor until they reach the first, larger ones
reduced to the second."""
_GAP_PX, _BORDER_PX, _LABEL_PX, _HEAD_PX = 8, 3, 78, 24
_LETTER_PX = 13
Box: TypeAlias = tuple[int, int, int, int]


def difference(truth: ByteArray, sample: ByteArray) -> ByteArray:
    """Sample less truth, times `DIFFERENCE_GAIN`, around grey; what leaves the range of a byte is cut off."""
    signed = _GREY + DIFFERENCE_GAIN * (sample.astype(np.int16) - truth.astype(np.int16))
    return signed.clip(0, 255).astype(np.uint8)


class FilmFrames:
    """Draws the frames of a film one by one, each (height, width, 3) uint8 with even sides, as H.264 wants them.

    A given frame has an orange border, a given block of a completion an orange outline. Where nothing is given there
    is no difference: the real clips belong to no sample.

    Args:
        film: what is shown.
        num_columns: clips of it at most, the first ones.
    """

    def __init__(self, film: Film, num_columns: int | None = None) -> None:
        self._film = film
        num_clips, self.num_frames, height, width = film.samples.shape[:4]
        self._num_columns = min(num_clips, num_columns or num_clips)
        self._tile_w, self._tile_h = _tile_size(width, height)
        self._resampling = Image.Resampling.NEAREST if self._tile_w >= width else Image.Resampling.LANCZOS
        self.rows = ("truth", "sample", "difference") if film.info.given else ("real clip", "sample")
        across = _LABEL_PX + self._num_columns * (self._tile_w + _GAP_PX)
        down = _HEAD_PX + len(self.rows) * (self._tile_h + _GAP_PX)
        self.width, self.height = across + across % 2, down + down % 2
        self._font = ImageFont.load_default(_LETTER_PX)

    def box(self, row: int, column: int) -> Box:
        """Where a tile lies: left, top, right, bottom, in pixels."""
        left = _LABEL_PX + column * (self._tile_w + _GAP_PX)
        top = _HEAD_PX + row * (self._tile_h + _GAP_PX)
        return left, top, left + self._tile_w, top + self._tile_h

    def __iter__(self) -> Iterator[ByteArray]:
        """All frames in order."""
        for number in range(self.num_frames):
            yield self.frame(number)

    def frame(self, number: int) -> ByteArray:
        """One frame."""
        picture = Image.new("RGB", (self.width, self.height), _GROUND)
        draw = ImageDraw.Draw(picture)
        given, made = self._film.info.given, self._film.info.task == "completion"
        what = ""
        if given:
            what = ", given" if number in given else ", blocks generated" if made else ", generated"
        draw.text((_LABEL_PX, 3), f"frame {number}{what}", fill=_INK, font=self._font)
        for row, label in enumerate(self.rows):
            draw.text((6, self.box(row, 0)[1]), label, fill=_INK, font=self._font)
            for column, blocks in enumerate(self._film.blocks_of_clips()[: self._num_columns]):
                tile = self._tile(label, column, number)
                if tile is None:
                    continue
                box = self.box(row, column)
                scaled = Image.fromarray(tile).resize((self._tile_w, self._tile_h), self._resampling)
                picture.paste(scaled, box[:2])
                if number in given:
                    draw.rectangle(_grown(box), outline=pictures.ORANGE, width=_BORDER_PX)
                elif blocks is not None:
                    _outline(draw, box, blocks)
        return np.asarray(picture)

    def _tile(self, label: str, column: int, number: int) -> ByteArray | None:
        """A clip's frame in a row, (H, W, 3); None where there is no truth any more."""
        truth, sample = self._film.truth[column], self._film.samples[column]
        if label == "sample":
            return sample[number]
        if number >= len(truth):
            return None
        return difference(truth[number], sample[number]) if label == "difference" else truth[number]


def _tile_size(width: int, height: int) -> tuple[int, int]:
    longer = max(width, height)
    if longer > _MOST_PX:
        return max(1, round(width * _MOST_PX / longer)), max(1, round(height * _MOST_PX / longer))
    factor = -(-_LEAST_PX // longer)
    return factor * width, factor * height


def _grown(box: Box) -> Box:
    left, top, right, bottom = box
    return left - _BORDER_PX, top - _BORDER_PX, right + _BORDER_PX - 1, bottom + _BORDER_PX - 1


def _outline(draw: ImageDraw.ImageDraw, box: Box, blocks: BoolArray) -> None:
    left, top, right, bottom = box
    for edge in pictures.outline(blocks):
        draw.line([(left + x * (right - left), top + y * (bottom - top)) for x, y in edge], pictures.ORANGE, 1)
