"""Films as video files: MP4 (H.264) for screens and papers' pages, GIF for slides and mails."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from results.film_frames import FilmFrames
from vdt_hpc import files
from vdt_hpc.store.latents import ByteArray

_ENCODER: Final = "libx264"
_CRF = "19"
"""H.264's constant rate factor: 17 to 18 cannot be told from the original, 23 is the encoder's usual one."""
_GIF_TICK_MS = 10
_GIF_LEAST_TICKS = 2  # browsers play shorter ones at 100 ms


def has_h264() -> bool:
    """Whether PyAV's FFmpeg can write H.264; that of PyPI can."""
    import av

    return _ENCODER in av.codecs_available


def write_mp4(frames: FilmFrames, rate_hz: float, path: Path) -> None:
    """Write frames as H.264 in an MP4 file that plays while it is still loading, finished by rename.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with files.finish(path) as temporary:
        _encode(frames, rate_hz, temporary)


def write_gif(frames: FilmFrames, rate_hz: float, path: Path) -> None:
    """Write frames as a GIF that plays for ever, every frame with 256 colours of its own; finished by rename.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    pictures = map(_to_palette, frames)
    first = next(pictures)
    with files.finish(path) as temporary:
        first.save(
            temporary, "GIF", save_all=True, append_images=pictures, loop=0, optimize=False,
            duration=durations_ms(frames.num_frames, rate_hz),
        )  # fmt: skip


def _encode(frames: FilmFrames, rate_hz: float, path: Path) -> None:
    import av

    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(_ENCODER, rate=_fraction(rate_hz))
        stream.width, stream.height, stream.pix_fmt = frames.width, frames.height, "yuv420p"
        # One thread: a report runs beside other work. A key frame often: one may step to any frame at once.
        stream.options = {"crf": _CRF, "preset": "medium", "threads": "1", "g": "12", "bf": "0"}
        codec = stream.codec_context  # all that is said of colour is BT.709, narrow: what players assume
        codec.color_range = codec.colorspace = codec.color_primaries = codec.color_trc = 1
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            narrow = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(narrow))
        container.mux(stream.encode(None))


def exact_rate(rate_hz: float) -> float:
    """The frame rate as the file states it: as a fraction."""
    return float(_fraction(rate_hz))


def durations_ms(num_frames: int, rate_hz: float) -> list[int]:
    """How long each frame of a GIF stands, in milliseconds: whole hundredths of a second whose sum keeps the rate."""
    ends = [round(number * 1000 / rate_hz / _GIF_TICK_MS) for number in range(num_frames + 1)]
    return [max(_GIF_LEAST_TICKS, end - start) * _GIF_TICK_MS for start, end in itertools.pairwise(ends)]


def _to_palette(pixels: ByteArray) -> Image.Image:
    # Dithering would flicker from frame to frame, and noise does not compress.
    return Image.fromarray(pixels).quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def _fraction(rate_hz: float) -> Fraction:
    return Fraction(rate_hz).limit_denominator(1001)
