"""Files to pixels: the same as Pillow's, or a named fault; sizes from the first bytes."""

import io

import numpy as np
import pytest
from made_png import FILTERS, SIGNATURE, chunk, header, png
from PIL import Image

from preprocess.images import PREFIX_BYTES, BadFrame, decode, frame_size
from vdt_hpc.errors import UserError


def textured(height_px=61, width_px=83):
    """Steps, ramps and noise, (H, W, 3)."""
    rng = np.random.default_rng(0)
    ramps = np.add.outer(np.arange(height_px), 2 * np.arange(width_px))[..., None] + [0, 40, 90]
    pixels = (ramps + rng.integers(0, 9, ramps.shape)) % 256
    pixels[10:30, 20:50] = 200
    return pixels.astype(np.uint8)


def saved(image, form="png", **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def by_pillow(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


WHOLE = {
    **{name: png(textured(), (number,)) for name, number in FILTERS.items()},
    "all filters": png(textured()),
    "interlaced": png(textured(), interlaced=True),
    "one pixel": png(textured(1, 1)),
    "a transparent colour": png(textured(), extra=chunk(b"tRNS", bytes(6))),
    "a gamma": png(textured(), extra=chunk(b"gAMA", bytes([0, 0, 177, 143]))),
    "by Pillow": saved(Image.fromarray(textured())),
}


@pytest.mark.parametrize("name", WHOLE)
def test_pixels_of_a_png_are_pillows(name):
    pixels = decode(WHOLE[name], "f.png")
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, by_pillow(WHOLE[name]))
    assert name == "one pixel" or np.array_equal(pixels, textured())


@pytest.mark.parametrize("progressive", [False, True])
def test_pixels_of_a_jpeg_are_pillows(progressive):
    content = saved(Image.fromarray(textured()), "jpeg", progressive=progressive)
    assert np.array_equal(decode(content, "f.jpg"), by_pillow(content))


def refused_or_whole(content):
    """Whether it was refused; never are there other pixels."""
    try:
        pixels = decode(content, "frames/f.png")
    except UserError as refused:
        assert str(refused).startswith("cannot read the frame frames/f.png: ")
        assert str(refused).endswith("; replace the file")
        assert "\n" not in str(refused)
        return True
    assert np.array_equal(pixels, textured())
    return False


@pytest.mark.parametrize("name", ["all filters", "interlaced", "by Pillow"])
def test_a_file_cut_short_gives_no_pixels(name):
    content = WHOLE[name]
    rng = np.random.default_rng(1)
    places = [*rng.integers(0, len(content) - 12, 20), 0, 7, 8, 20, 32, 33, 40, len(content) - 13]
    assert all(refused_or_whole(content[:place]) for place in places)
    for missing_bytes in range(1, 13):  # all pixels are there
        refused_or_whole(content[:-missing_bytes])


@pytest.mark.parametrize("name", ["all filters", "interlaced", "by Pillow"])
def test_a_changed_byte_gives_no_other_pixels(name):
    content = WHOLE[name]
    rng = np.random.default_rng(2)
    places = [*rng.integers(0, len(content), 50), *range(50)]
    changed = [
        content[:place] + bytes([content[place] ^ rng.integers(1, 256)]) + content[place + 1 :] for place in places
    ]
    assert sum(refused_or_whole(content) for content in changed) > 90


STREAM_TOO_SHORT = SIGNATURE + header(83, 61) + png(textured(30, 83))[33:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "no PNG or JPEG"),
        (SIGNATURE, "cut short in its header"),
        (STREAM_TOO_SHORT, r"its pixels are damaged \("),
        (WHOLE["paeth"][:-400] + b"x" + WHOLE["paeth"][-399:], r"its pixels are damaged \(.*CRC"),
        (saved(Image.fromarray(textured()), "jpeg")[:-200], r"its pixels are damaged \("),
    ],
)
def test_what_is_wrong_with_a_file(content, said):
    with pytest.raises(UserError, match=rf"^cannot read the frame a/b.png: {said}.*; replace the file$"):
        decode(content, "a/b.png")


@pytest.mark.parametrize(("suffix", "form"), [(".png", "png"), (".jpg", "jpeg"), (".jpeg", "jpeg")])
def test_the_size_stands_in_the_first_bytes(suffix, form):
    options = {} if form == "png" else {"comment": b"x" * 60_000}
    noise = np.random.default_rng(3).integers(0, 256, (310, 420, 3), np.uint8)
    content = saved(Image.fromarray(noise), form, **options)
    assert len(content) > PREFIX_BYTES[suffix]
    assert frame_size(content[: PREFIX_BYTES[suffix]]) == (310, 420)


def headed(*args, **options):
    return SIGNATURE + header(4, 3, *args, **options)


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        (b"", "empty"),
        (b"text", "no PNG or JPEG"),
        (headed(16), "16 bits per channel instead of 8"),
        (headed(8, 0), "grey instead of RGB"),
        (headed(16, 0), "grey instead of RGB and 16 bits per channel instead of 8"),
        (headed(4, 3), "a palette instead of RGB"),
        (headed(8, 4), "grey instead of RGB and has an alpha channel"),
        (headed(8, 6), "has an alpha channel"),
        (headed(8, 5), "its header is damaged"),
        (headed(7), "its header is damaged"),
        (headed(compression=1), "its header is damaged"),
        (headed(interlacing=2), "its header is damaged"),
        (SIGNATURE + header(0, 3), "its header is damaged"),
        (headed()[:-1] + b"?", "its header is damaged"),
        (SIGNATURE + chunk(b"IDAT", bytes(13)), "its header is damaged"),
        (headed()[:-1], "cut short in its header"),
        (saved(Image.new("L", (4, 3)), "jpeg"), "grey instead of RGB"),
        (saved(Image.new("CMYK", (4, 3)), "jpeg"), "CMYK instead of RGB"),
        (b"\xff\xd8\xff\xe0", "its header is damaged, cut short or longer than 131072 bytes"),
    ],
)
def test_a_header_that_is_no_frames(prefix, reason):
    with pytest.raises(BadFrame) as bad:
        frame_size(prefix)
    assert bad.value.reason == str(bad.value) == reason


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16"])
def test_what_would_be_converted_is_refused(mode):
    content = saved(Image.new(mode, (4, 3)))
    with pytest.raises(UserError, match=r"f.png: (grey|a palette|has an alpha)"):
        decode(content, "f.png")
