"""What the stage `encode` costs beside decoding and resizing alone; how it scales; what memory it takes.

    python tests/benchmarks/encode.py [--parts 1 2 3 4]

1. Frames a second of the whole stage with one worker, on one core, against a bare loop that reads, decodes and
   resizes the same files. The stage indexes, reads in place, prepares in a worker process, keeps the frames of val and
   test, writes and publishes shards; its autoencoder gives zeros and nothing measures the ceiling, both for nothing.
   Only starting the worker and imports are left out: the worker lives on, and a first round is not counted. The sides
   take turns; ratios are medians over rounds. Seconds of the processor are those of the task and its worker together,
   and do not see what the neighbours of a shared machine do.
2. The same with one worker on one core and two on two; beside it the bare loop in as many processes, which shows what
   the machine has to give.
3. Resident memory of the task and of its worker while frames pass, with a tiny autoencoder and the ceiling measured.
   Pages that both share are counted in both; the worker has also imported this program.
4. Many tiny clips, indexed, encoded, published and verified; each number of clips in a process of its own.

The frames are made-up photographs, each stage runs in a folder of its own. Ten minutes.
"""

import argparse
import contextlib
import datetime
import io
import itertools
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar
from unittest import mock

import numpy as np

HOME = Path(__file__).parents[2]
sys.path[:0] = [str(HOME), str(HOME / "tests/preprocess")]
from made_frames import save_autoencoder  # noqa: E402

from preprocess import encode, encoding, index, verify  # noqa: E402
from preprocess.geometry import prepare  # noqa: E402
from preprocess.images import decode  # noqa: E402
from preprocess.source.cityscapes import frame_name  # noqa: E402
from tests.benchmarks.photographs import CITIES, png, write_cityscapes  # noqa: E402
from vdt_hpc.experiment.config import RunConfig  # noqa: E402
from vdt_hpc.experiment.partition import Partition  # noqa: E402
from vdt_hpc.experiment.paths import CITYSCAPES_TREE  # noqa: E402
from vdt_hpc.model import autoencoder as autoencoders  # noqa: E402
from vdt_hpc.pool import worker_processes  # noqa: E402
from vdt_hpc.progress import Progress  # noqa: E402

ROUNDS, CLIPS_PER_CITY, DEMANDED = 5, 3, 0.85
SCALING_ROUNDS, SCALING_CLIPS_PER_CITY = 3, 4
BIG_PX, BIG_CLIPS_PER_CITY = (2048, 1024), 24
SMALL_PX, SMALL_CLIPS_PER_CITY = (512, 256), 48
TINY_CLIPS, TINY_FRAMES, TINY_PX = (1250, 2500, 5000), 4, 16
TABLE_ROWS = 8
MIB = 2**20


class Watched(Progress):
    """Notes the resident memory of the task and of its workers with each clip that is done."""

    samples: ClassVar = []
    """(frames done, bytes of the task, bytes of its workers)"""
    highest_of_workers = 0

    def advance(self, units=1, note=""):
        super().advance(units, note)
        workers = [process.pid for process in multiprocessing.active_children()]
        before = self.samples[-1][0] if self.samples else 0
        self.samples.append((before + units, held_bytes("self"), sum(map(held_bytes, workers))))
        type(self).highest_of_workers = max(self.highest_of_workers, sum(map(peak_bytes, workers)))


def status_bytes(process, name):
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def held_bytes(process):
    return status_bytes(process, "VmRSS:")


def peak_bytes(process):
    return status_bytes(process, "VmHWM:")


def processor_s():
    """Seconds of the processor that this process and its workers have had."""
    ticks = 0
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def configured(frames, autoencoder="none", clips_per_shard=8, frames_per_clip=30, frame_height_px=128):
    num_frames = min(16, frames_per_clip)
    return RunConfig.model_validate(
        {
            "data": {
                "dataset": "made-up",
                "root": str(frames),
                "frames_per_clip": frames_per_clip,
                "frame_height_px": frame_height_px,
            },
            "model": {"num_frames": num_frames},
            "tasks": {"prefix_max_frames": num_frames // 2},
            "autoencoder": {"source": str(autoencoder), "clips_per_shard": clips_per_shard},
        }
    )


@contextlib.contextmanager
def free_autoencoder():
    """In the place of the autoencoder and the ceiling, what costs nothing."""
    import torch

    identity = {"source": "none", "sha256": "", "scaling_factor": 1.0}
    stand_in = SimpleNamespace(device=torch.device("cpu"), source="none", identity=lambda: identity)
    ceiling = SimpleNamespace(missing=None, measure=lambda pixels, mean: {})

    def zeros(autoencoder, frames, frames_per_batch):
        shape = (len(frames), 4, frames.shape[1] // 8, frames.shape[2] // 8)
        return torch.zeros(shape), torch.zeros(shape)

    with contextlib.ExitStack() as stack:
        for owner, name, new in (
            (autoencoders, "load", lambda *_, **__: stand_in),
            (autoencoders, "encode", zeros),
            (encode, "Ceiling", lambda *_: ceiling),
        ):
            stack.enter_context(mock.patch.object(owner, name, new))
        yield


@contextlib.contextmanager
def workers_that_stay(num_workers):
    """Makes what runs the stage, and what runs bare loops, with that many workers, which outlive it, on as many cores.

    Each returns seconds, and seconds of the processor.
    """
    os.sched_setaffinity(0, CORES[-num_workers:])
    with worker_processes(num_workers) as pool:

        def run(config):
            os.sched_setaffinity(0, CORES[-num_workers:])
            with (
                tempfile.TemporaryDirectory(dir=FOLDER) as root,
                mock.patch.dict(os.environ, SLURM_CPUS_PER_TASK=str(num_workers)),
                mock.patch.object(encoding, "worker_processes", lambda _: contextlib.nullcontext(pool)),
                contextlib.redirect_stdout(io.StringIO()),
            ):
                started_s, processor_started_s = time.perf_counter(), processor_s()
                encode.run(config, partition(root))
                return time.perf_counter() - started_s, processor_s() - processor_started_s

        def loops(paths, data):
            os.sched_setaffinity(0, CORES[-num_workers:])
            started_s = time.perf_counter()
            parts = [pool.submit(bare, paths[first::num_workers], data) for first in range(num_workers)]
            processor = sum(part.result()[1] for part in parts)
            return time.perf_counter() - started_s, processor

        yield run, loops


def partition(root):
    return Partition(name="local", executor="local", root=str(root))


def bare(paths, data):
    """Seconds, and seconds of the processor, of reading, decoding and resizing alone."""
    started_s, processor_started_s = time.perf_counter(), time.process_time()
    for path in paths:
        prepare(decode(path.read_bytes(), path.name), data)
    return time.perf_counter() - started_s, time.process_time() - processor_started_s


def link_some(tree, target, clips_per_city):
    """The first clips of each city under a folder of their own."""
    chosen = [path for path in tree.rglob("*.png") if int(path.name.split("_")[1]) < clips_per_city]
    for path in chosen:
        linked = target / path.relative_to(tree)
        linked.parent.mkdir(parents=True, exist_ok=True)
        linked.hardlink_to(path)
    return target


def pack(tree, path, method):
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(tree.rglob("*.png")):
            archive.write(file, file.relative_to(tree))
    return path


def measure_stage(tree):
    """The first part."""
    archive, paths = pack(tree, FOLDER / "tree.zip", zipfile.ZIP_STORED), sorted(tree.rglob("*.png"))
    num_frames = len(paths)
    configs = {"tree": configured(tree), "zip, stored": configured(archive)}
    with free_autoencoder(), workers_that_stay(1) as (run, _):
        sides = {"bare loop": lambda: bare(paths, configs["tree"].data)}
        sides |= {name: lambda config=config: run(config) for name, config in configs.items()}
        rounds = [{name: side() for name, side in sides.items()} for _ in range(ROUNDS + 1)][1:]
    print(f"1. The stage on one core, {num_frames} frames, {ROUNDS} rounds")
    print(f"{'':14}{'frames/s':>10}{'of the bare loop':>30}{'processor ms/frame':>21}{'bare loop / it':>16}")
    for name in sides:
        rate = num_frames / statistics.median(turn[name][0] for turn in rounds)
        ratios = [turn["bare loop"][0] / turn[name][0] for turn in rounds]
        ratio = f"{statistics.median(ratios):.1%} ({min(ratios):.1%} to {max(ratios):.1%})"
        processor_ms = 1000 * statistics.median(turn[name][1] for turn in rounds) / num_frames
        work = statistics.median(turn["bare loop"][1] / turn[name][1] for turn in rounds)
        print(f"{name:14}{rate:>10.1f}{ratio:>30}{processor_ms:>21.1f}{work:>16.1%}")
    print(f"demanded: {DEMANDED:.0%}\n", flush=True)


def measure_scaling(tree):
    """The second part."""
    config, paths = configured(tree), sorted(tree.rglob("*.png"))
    with free_autoencoder(), workers_that_stay(1) as one, workers_that_stay(2) as two:
        arguments = {"stage": (config,), "bare loop": (paths, config.data)}
        turns = list(itertools.product(enumerate(arguments), enumerate((one, two))))
        taken = [
            {(name, number): sides[kind](*arguments[name]) for (kind, name), (number, sides) in turns}
            for _ in range(SCALING_ROUNDS + 1)
        ][1:]
    print(f"2. One worker on one core and two on two, a tree of {len(paths)} frames, {SCALING_ROUNDS} rounds")
    print(f"{'':14}{'frames/s':>19}{'ratio':>22}{'processor ms/frame':>22}")
    for name in arguments:
        rates, works = (
            [statistics.median(change(turn[name, number]) for turn in taken) for number in (0, 1)]
            for change in (lambda both: len(paths) / both[0], lambda both: 1000 * both[1] / len(paths))
        )
        ratios = [turn[name, 0][0] / turn[name, 1][0] for turn in taken]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name:14}{rates[0]:>9.1f} {rates[1]:>9.1f}{ratio:>22}{works[0]:>12.1f} {works[1]:>9.1f}")
    print(flush=True)


def measure_memory(tree, size_px, autoencoder):
    """The third part, for frames of one size: peaks between numbers of frames, and the slopes of the second half."""
    config = configured(tree, autoencoder, clips_per_shard=4, frame_height_px=64)
    Watched.samples = []
    with mock.patch.object(encode, "Progress", Watched), workers_that_stay(1) as (run, _):
        seconds, _ = run(config)
    samples = np.array(Watched.samples) / (1, MIB, MIB)
    size = " x ".join(map(str, size_px))
    print(f"3. Resident memory, one run of {samples[-1, 0]:,.0f} frames of {size} px in {seconds:.0f} s")
    print(f"{'frames done':>14}{'task, MiB':>12}{'worker, MiB':>14}     (highest since the row above)")
    for part in np.array_split(samples, TABLE_ROWS):
        print(f"{part[-1, 0]:>14,.0f}{part[:, 1].max():>12.1f}{part[:, 2].max():>14.1f}")
    half = samples[len(samples) // 2 :]
    slopes = [1000 * np.polyfit(half[:, 0], half[:, column], 1)[0] for column in (1, 2)]
    print("second half, MiB more with each 1,000 frames: task {:+.2f}, worker {:+.2f}\n".format(*slopes), flush=True)


def write_tiny(path, num_clips):
    """A zip of clips, four in five of them for training."""
    draw = np.random.default_rng(0)
    contents = [png(draw.integers(0, 256, (TINY_PX, TINY_PX, 3), np.uint8)) for _ in range(16)]
    with zipfile.ZipFile(path, "w") as archive:
        for clip, frame in itertools.product(range(num_clips), range(TINY_FRAMES)):
            split = {0: "val", 1: "test"}.get(clip % 10, "train")
            name = f"{CITYSCAPES_TREE}/{split}/{CITIES[split]}/{frame_name(CITIES[split], clip, frame)}"
            archive.writestr(name, contents[(clip + frame) % len(contents)])


def run_tiny(num_clips, folder, autoencoder):
    """Seconds of each step, seconds of the processor, peak memory in bytes of task and worker; in a fresh process."""
    os.environ["SLURM_CPUS_PER_TASK"] = "1"
    import torch

    torch.set_num_threads(1)
    archive = folder / f"{num_clips}.zip"
    write_tiny(archive, num_clips)
    config = configured(archive, autoencoder, 64, TINY_FRAMES, TINY_PX)
    autoencoders.load(config.autoencoder, torch.device("cpu"))  # imports are no part of the first step
    root, seconds, processor_started_s = folder / str(num_clips), {}, sum(os.times()[:4])

    def timed(name, function):
        def call(*arguments):
            started_s = time.perf_counter()
            result = function(*arguments)
            seconds[name] = time.perf_counter() - started_s
            return result

        return call

    with (
        contextlib.redirect_stdout(io.StringIO()),
        mock.patch.object(encode, "Progress", Watched),
        mock.patch.object(encode, "publish", timed("publish", encode.publish)),
    ):
        for name, stage in (("index", index), ("encode", encode), ("verify", verify)):
            timed(name, stage.run)(config, partition(root))
    seconds["encode"] -= seconds["publish"]
    processor = sum(os.times()[:4]) - processor_started_s  # the worker's too: it has ended
    shutil.rmtree(root)
    archive.unlink()
    return seconds, processor, peak_bytes("self"), Watched.highest_of_workers


def measure_tiny(autoencoder):
    """The fourth part."""
    print(f"4. Clips of {TINY_FRAMES} frames of {TINY_PX} x {TINY_PX} px in a zip, a tiny autoencoder, one core")
    steps = ("index", "encode", "publish", "verify")
    print(f"{'clips':>7}" + "".join(f"{f'{step}, s':>12}" for step in steps), end="")
    print(f"{'ms/clip':>10}{'processor':>12}{'task, MiB':>12}{'worker, MiB':>14}")
    os.sched_setaffinity(0, CORES[-1:])
    peaks = []
    for num_clips in TINY_CLIPS:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            seconds, processor, task_bytes, worker_bytes = pool.submit(
                run_tiny, num_clips, FOLDER, autoencoder
            ).result()
        peaks.append(task_bytes)
        print(f"{num_clips:>7,}" + "".join(f"{seconds[step]:>12.2f}" for step in steps), end="")
        per_clip_ms, processor_ms = (1000 * each / num_clips for each in (sum(seconds.values()), processor))
        print(f"{per_clip_ms:>10.2f}{processor_ms:>12.2f}", end="")
        print(f"{task_bytes / MIB:>12.1f}{worker_bytes / MIB:>14.1f}", flush=True)
    per_clip = (peaks[-1] - peaks[0]) / (TINY_CLIPS[-1] - TINY_CLIPS[0]) / 1024
    print(
        f"the task's peak grows by {per_clip:.2f} KiB with each clip, {per_clip / TINY_FRAMES:.2f} KiB with each file"
    )


def machine():
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "h5py", "pillow", "kornia-rs"))
    python = sys.version.split()[0]
    return f"{datetime.date.today()}, {cpu.partition(':')[2].strip()}, {len(CORES)} cores, Python {python}, {packages}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 3, 4])
    parts = parser.parse_args().parts
    print(machine(), end="\n\n", flush=True)
    autoencoder = save_autoencoder(FOLDER / "autoencoder", seed=0)
    big, small = FOLDER / "big", FOLDER / "small"
    if {1, 2, 3} & {*parts}:
        write_cityscapes(big, BIG_CLIPS_PER_CITY if 3 in parts else SCALING_CLIPS_PER_CITY, size_px=BIG_PX)
    if 1 in parts:
        measure_stage(link_some(big, FOLDER / "stage", CLIPS_PER_CITY))
    if 2 in parts:
        measure_scaling(link_some(big, FOLDER / "scaling", SCALING_CLIPS_PER_CITY))
    if 3 in parts:
        measure_memory(big, BIG_PX, autoencoder)
        write_cityscapes(small, SMALL_CLIPS_PER_CITY, size_px=SMALL_PX)
        measure_memory(small, SMALL_PX, autoencoder)
    if 4 in parts:
        measure_tiny(autoencoder)


if __name__ == "__main__":
    CORES = sorted(os.sched_getaffinity(0))[-2:]
    with tempfile.TemporaryDirectory() as name:
        FOLDER = Path(name)
        main()
