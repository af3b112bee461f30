"""How many frames a second one core turns from PNG files into pixels, by several decoders side by side.

    taskset -c 1 python tests/benchmarks/decode.py [--rounds 10]

The frames are made-up photographs of 2048 x 1024 px and about 2 MB. The decoders take turns on each frame, so that all
see the same load of the machine; ratios are medians over frames. `prepared` is decoding, the centre square and Lanczos
to 128 px. `others wait` is how long another thread that sleeps half a millisecond sleeps at the ninth decile while
frames are decoded: about as long as decoding takes where the decoder keeps the interpreter's lock. Decoders that are
not installed are left out. `as chosen` is preprocess.images.decode, which also reads the header first.
"""

import argparse
import contextlib
import datetime
import io
import os
import statistics
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HOME = Path(__file__).parents[2]
sys.path.insert(0, str(HOME))
from preprocess.geometry import prepare  # noqa: E402
from preprocess.images import decode  # noqa: E402
from tests.benchmarks.photographs import photographs, png  # noqa: E402
from vdt_hpc.experiment.data_config import DataConfig  # noqa: E402

NUM_FRAMES = 4
SLEEP_S = 0.0005


def pillow():
    def decoder(content):
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))

    return decoder


def opencv():
    import cv2

    cv2.setNumThreads(1)
    return lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)


def torchvision():
    from torchvision.io import decode_png

    def decoder(content):
        channels_first = decode_png(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        return channels_first.permute(1, 2, 0).contiguous().numpy()

    return decoder


def pyvips():
    os.environ["VIPS_CONCURRENCY"] = "1"
    import pyvips

    return lambda content: pyvips.Image.new_from_buffer(content, "", fail_on="truncated").numpy()


def imagecodecs_png():
    import imagecodecs

    return imagecodecs.png_decode


def imagecodecs_spng():
    import imagecodecs

    return imagecodecs.spng_decode


def pyspng():
    import pyspng

    return pyspng.load


def imgread():
    import imgread

    return lambda content: imgread.load_numpy_from_bytes(content, backend="image")


def kornia_rs():
    import kornia_rs.image

    return lambda content: np.asarray(kornia_rs.image.Image.decode(content, "RGB"))


def as_chosen():
    return lambda content: decode(content, "frame")


DECODERS = {
    "pillow": ("pillow", pillow),
    "torchvision": ("torchvision", torchvision),
    "opencv": ("opencv-python-headless", opencv),
    "pyvips": ("pyvips-binary", pyvips),
    "imagecodecs, libpng": ("imagecodecs", imagecodecs_png),
    "imagecodecs, libspng": ("imagecodecs", imagecodecs_spng),
    "pyspng": ("pyspng-seunglab", pyspng),
    "imgread": ("imgread", imgread),
    "kornia-rs": ("kornia-rs", kornia_rs),
    "as chosen": ("kornia-rs", as_chosen),
}
"""Name in the table: (package, what makes the decoder). Pillow is what the others are compared with."""


def installed():
    decoders = {}
    for name, (_, make) in DECODERS.items():
        with contextlib.suppress(ImportError):
            decoders[name] = make()
    return decoders


def measure(decoders, contents, data, num_rounds):
    """Seconds of decoding, and of that and preparing, of each frame: two of {name: [s, ...]}."""
    decoding, preparing = ({name: [] for name in decoders} for _ in range(2))
    for _ in range(num_rounds):
        for content in contents:
            for name, decoder in decoders.items():
                started = time.perf_counter()
                pixels = decoder(content)
                decoded = time.perf_counter()
                prepare(pixels, data)
                decoding[name].append(decoded - started)
                preparing[name].append(time.perf_counter() - started)
    return decoding, preparing


def others_wait_s(decoder, content, measured_s=1.0):
    """Ninth decile of a short sleep while another thread decodes."""
    stopped = threading.Event()

    def work():
        while not stopped.is_set():
            decoder(content)

    worker = threading.Thread(target=work)
    worker.start()
    slept, until = [], time.perf_counter() + measured_s
    while time.perf_counter() < until:
        started = time.perf_counter()
        time.sleep(SLEEP_S)
        slept.append(time.perf_counter() - started)
    stopped.set()
    worker.join()
    return statistics.quantiles(slept, n=10)[-1]


def print_table(decoders, contents, decoding, preparing):
    def ratio(seconds, name):
        pairs = zip(seconds["pillow"], seconds[name], strict=True)
        return statistics.median(base_s / own_s for base_s, own_s in pairs)

    truth = [decoders["pillow"](content).astype(int) for content in contents]
    print(f"{'':34}{'decoded/s':>11}{'x Pillow':>10}{'prepared/s':>12}{'x Pillow':>10}{'off by':>8}{'others wait':>14}")
    for name, decoder in decoders.items():
        package = DECODERS[name][0]
        off = max(abs(decoder(content) - pixels).max() for content, pixels in zip(contents, truth, strict=True))
        print(
            f"{name + ' ' + version(package):34}"
            f"{1 / statistics.median(decoding[name]):>11.1f}{ratio(decoding, name):>10.2f}"
            f"{1 / statistics.median(preparing[name]):>12.1f}{ratio(preparing, name):>10.2f}"
            f"{off:>8}{1000 * others_wait_s(decoder, contents[0]):>11.1f} ms"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    num_rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    contents = [png(pixels) for pixels in photographs(NUM_FRAMES)]
    megabytes = sum(map(len, contents)) / len(contents) / 1e6
    print(f"{datetime.date.today()}, {cpu.partition(':')[2].strip()}, one core, Python {sys.version.split()[0]}")
    print(f"{NUM_FRAMES} frames of {megabytes:.2f} MB, {num_rounds} rounds\n", flush=True)
    decoders = installed()
    print_table(decoders, contents, *measure(decoders, contents, DataConfig(), num_rounds))


if __name__ == "__main__":
    main()
