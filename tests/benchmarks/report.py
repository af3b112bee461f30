"""How long the report of many runs takes: python tests/benchmarks/report.py [--runs 50] [--records 10000] [--logs].

Made-up runs with made-up records of six tasks, four metrics, three protocols and as many sample sets as fill them up.
Timed is `python -m vdt_hpc.report` as a user starts it, from the start of its process, and then the stage `compare`
alone, in this process and without the imports of the stage.
"""

import argparse
import datetime
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from vdt_hpc.commandline import load_partition, load_run
from vdt_hpc.experiment.stages import load
from vdt_hpc.experiment.tasks_config import TASKS
from vdt_hpc.store.records import Record

HOME = Path(__file__).parents[2]
METRICS, PROTOCOLS, SUBJECTS = (
    ("fvd", "ssim", "psnr", "lpips"),
    ("2to28", "full1525", "quick"),
    ("model", "autoencoder"),
)


def records(run, num_records, draw):
    """As many records as are asked for, the newest checkpoint's last."""
    kinds = list(itertools.product(TASKS, PROTOCOLS, SUBJECTS, METRICS))
    num_sets = -(-num_records // len(kinds))
    for number in range(num_sets):
        checkpoint = f"clips-{100 * (number // 3):09d}"
        for task, protocol, subject, metric in kinds:
            generated = subject == "model"
            yield Record(
                run=run, dataset="cityscapes", subject=subject, task=task, protocol=protocol, metric=metric,
                value=draw.random(), missing=None, interval_low=None, interval_high=None, num_clips=256,
                num_trajectories=1, num_frames=30, given_frames=2, sampler="ddim" if generated else None,
                num_steps=50 if generated else None, seed=0 if generated else None,
                checkpoint=checkpoint if generated else None, clips_seen=100 * (number // 3) if generated else None,
                samples=f"set-{number}" if generated else None, latents_fingerprint="f00", code_commit="c0ffee",
            )  # fmt: skip


def training_log(num_lines, draw):
    """Lines of a training log with two restarts."""
    for number in range(num_lines):
        if number % -(-num_lines // 3) == 0:
            yield {"kind": "start", "clips_seen": 16 * number, "partition": "a100"}
        loss = 0.1 + 1 / (1 + number) + 0.01 * draw.random()
        yield {"kind": "train", "clips_seen": 16 * (number + 1), "loss": loss, "lr": 1e-4, "clips_per_s": 9.5}


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_run(folder, config, options, draw):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    lines = itertools.islice(records(folder.name, options.records, draw), options.records)
    write_lines(folder / "records.jsonl", map(asdict, lines))
    if options.logs:
        job = {"job": "7-0", "partition": "a100", "cluster": "", "node": "n", "world_size": 5}
        start, end = (f"2026-01-05T{hour}:00:00+00:00" for hour in ("08", "13"))
        write_lines(folder / "progress.jsonl", training_log(3000, draw))
        write_lines(folder / "jobs.jsonl", [
            {"event": "start", **job, "time": start, "clips": 0},
            {"event": "end", "job": "7-0", "time": end, "why": "complete", "clips": 48_000, "lost_clips": 0},
        ])  # fmt: skip


def time_command(root):
    """Seconds of the command as a user starts it: until the last run is reported, and in all."""
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "vdt_hpc.report", "--root", str(root)]
    with subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("      page: ") and "comparison" not in line:
                runs_s = time.perf_counter() - started_s
    assert process.returncode == 0
    return runs_s, time.perf_counter() - started_s


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--logs", action="store_true", help="give each run a training log and a job too: two figures")
    parser.add_argument("--keep", type=Path, help="a folder to keep the made-up runs and the pages in")
    options = parser.parse_args()
    draw, config = random.Random(0), load_run("cityscapes")
    with tempfile.TemporaryDirectory() as temporary:
        root = options.keep or Path(temporary)
        for number in range(options.runs):
            make_run(root / f"run-{number:02d}", config, options, draw)
        runs_s, seconds = time_command(root)
        started_s = time.perf_counter()
        result = load("compare")(config, load_partition("local").model_copy(update={"root": str(root)}))
        alone_s = time.perf_counter() - started_s
        sizes_mb = [path.stat().st_size / 1e6 for path in (root / "comparison/index.html", root / "run-00/index.html")]
    told = f"{options.runs} runs of {options.records:,} records{' with training logs' if options.logs else ''}"
    print(f"{datetime.date.today()}: {told}, {len(os.sched_getaffinity(0))} cores")
    print(f"the command: {seconds:.1f} s, of which the runs {runs_s:.1f} s and the comparison {seconds - runs_s:.1f} s")
    print(f"compare alone: {alone_s:.1f} s; {result.summary}")
    print(f"the page of the comparison has {sizes_mb[0]:.2f} MB, a run's {sizes_mb[1]:.2f} MB")


if __name__ == "__main__":
    main()
