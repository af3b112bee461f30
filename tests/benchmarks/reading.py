"""How fast training windows come out of shards of latents, beside a plain copy in memory; and how fast shards open.

    taskset -c 1 python tests/benchmarks/reading.py

Latents of the size of Cityscapes' are made up in a temporary folder, so that they lie in the page cache. Windows are
read as training reads them clip by clip: 16 of a clip's 30 frames, mean and deviation, of one flip. Whole clips are
read as training fills its copy in memory. Beside each, numpy copies the same bytes of the same clips, in the same
order, from one array each for mean and deviation. The two take turns; rates and ratios are medians. Then many small
shards are opened, and one window is read from each. Seconds on one core.
"""

import datetime
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

HOME = Path(__file__).parents[2]
sys.path.insert(0, str(HOME))
import h5py  # noqa: E402
import numpy as np  # noqa: E402

from jobs.moments import ByClip  # noqa: E402
from vdt_hpc.store.latents import LatentSplit, ShardContent, shard_name, write_shard  # noqa: E402
from vdt_hpc.store.manifest import Shard  # noqa: E402

CLIPS_PER_SHARD, NUM_SHARDS = 64, 6
CLIP = (2, 30, 4, 16, 16)
"""(flips, T, C, h, w)"""
WINDOW_FRAMES = 16
ROUNDS, WINDOWS_PER_ROUND = 15, 2000
SMALL_SHARDS, SMALL_CLIP, LIMIT_S = 200, (2, 30, 4, 4, 4), 1.0


def write_shards(folder, num_shards, clips_per_shard, clip):
    """A training split of noise: its shards, and all means and deviations in two arrays."""
    draw = np.random.default_rng(0)
    mean, std = (
        draw.standard_normal((num_shards * clips_per_shard, *clip), np.float32).astype(np.float16) for _ in range(2)
    )
    shards = []
    for number in range(num_shards):
        rows = slice(number * clips_per_shard, (number + 1) * clips_per_shard)
        names = tuple(f"clip-{row}" for row in range(rows.start, rows.stop))
        shards.append(Shard(shard_name("train", number), "train", clips_per_shard, ""))
        write_shard(folder / shards[-1].file, ShardContent(names, mean[rows], std[rows]))
    return shards, mean, std


def draw_windows(num_clips):
    """(clip, flip, frames) of one round, at random."""
    draw = np.random.default_rng(1)
    for _ in range(WINDOWS_PER_ROUND):
        start = int(draw.integers(CLIP[1] - WINDOW_FRAMES + 1))
        yield int(draw.integers(num_clips)), int(draw.integers(CLIP[0])), slice(start, start + WINDOW_FRAMES)


def per_second(read, drawn):
    started = time.perf_counter()
    for window in drawn:
        read(*window)
    return len(drawn) / (time.perf_counter() - started)


def compare(what, read, copy, drawn, num_bytes):
    """Print the rates of reading and of copying, taken in turn, and what fraction the one is of the other."""
    rounds = [(per_second(read, drawn), per_second(copy, drawn)) for _ in range(ROUNDS)]
    print(f"{what}, {num_bytes / 1e3:.0f} kB each; {ROUNDS} rounds of {len(drawn)}")
    for name, rates in zip(("from shards", "numpy copy"), zip(*rounds, strict=True), strict=True):
        most = statistics.median(rates)
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        print(f"  {name}: {most:,.0f} a second, {most * num_bytes / 1e9:.2f} GB/s ({spread})")
    ratios = [one / other for one, other in rounds]
    print(f"  ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def measure_reading(folder):
    """Windows and whole clips from shards against copies of the same bytes."""
    shards, mean, std = write_shards(folder, NUM_SHARDS, CLIPS_PER_SHARD, CLIP)
    split = LatentSplit(folder, "train", shards)
    from_shards = ByClip(split, mean.shape, 1.0)
    targets = np.empty_like(mean[0]), np.empty_like(std[0])

    def copied(clip, flip, frames):
        return mean[clip, flip, frames].copy(), std[clip, flip, frames].copy()

    def whole(clip):
        split.read_into(clip, *targets)

    def whole_copied(clip):
        for target, source in zip(targets, (mean, std), strict=True):
            np.copyto(target, source[clip])

    drawn = list(draw_windows(len(mean)))
    for window in drawn[:200]:
        for one, other in zip(from_shards.window(*window), copied(*window), strict=True):
            assert np.array_equal(one, other)
    num_bytes = sum(part.nbytes for part in copied(*drawn[0]))
    what = f"windows of {WINDOW_FRAMES} of {CLIP[1]} frames, mean and deviation"
    compare(what, from_shards.window, copied, drawn, num_bytes)
    clips = [(clip,) for clip in range(len(mean))]
    compare("whole clips of 2 flips, mean and deviation", whole, whole_copied, clips, mean[0].nbytes + std[0].nbytes)


def measure_opening(folder):
    """Seconds until every one of many small shards is open and has given its first window."""
    shards, mean, _ = write_shards(folder, SMALL_SHARDS, 1, SMALL_CLIP)
    seconds = []
    for _ in range(5):
        split = LatentSplit(folder, "train", shards)
        started = time.perf_counter()
        for clip in range(len(mean)):
            split.moments(clip, 0, slice(0, WINDOW_FRAMES))
        seconds.append(time.perf_counter() - started)
    middle = statistics.median(seconds)
    print(f"{SMALL_SHARDS} shards opened, a first window read from each; 5 times")
    print(f"  {middle:.3f} s ({min(seconds):.3f} to {max(seconds):.3f}), {LIMIT_S:.0f} s allowed")
    assert middle < LIMIT_S


def machine():
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores"
    versions = f"numpy {np.__version__}, h5py {h5py.__version__}"
    return f"{datetime.date.today()}, {cpu.partition(':')[2].strip()}, {cores}, {versions}"


if __name__ == "__main__":
    print(machine())
    for measure in (measure_reading, measure_opening):
        with tempfile.TemporaryDirectory() as name:
            measure(Path(name))
