"""How long a comparison of many runs takes: python tests/benchmarks/report.py [--runs 50] [--records 10000].

Made-up runs with made-up records of six tasks, four metrics, three protocols and as many sample sets as fill them up.
Nothing is measured but the time of the stage `compare`.
"""

import argparse
import datetime
import itertools
import json
import random
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="a folder to keep the made-up runs and the page in")
    options = parser.parse_args()
    draw, config = random.Random(0), load_run("cityscapes")
    with tempfile.TemporaryDirectory() as temporary:
        root = options.keep or Path(temporary)
        for number in range(options.runs):
            folder = root / f"run-{number:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
            lines = itertools.islice(records(folder.name, options.records, draw), options.records)
            (folder / "records.jsonl").write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines))
        started_s = time.perf_counter()
        result = load("compare")(config, load_partition("local").model_copy(update={"root": str(root)}))
        seconds = time.perf_counter() - started_s
        size_mb = (root / "comparison" / "index.html").stat().st_size / 1e6
    told = f"{options.runs} runs of {options.records:,} records"
    print(f"{datetime.date.today()}: {told}: {seconds:.1f} s; {result.summary}")
    print(f"the page has {size_mb:.1f} MB")


if __name__ == "__main__":
    main()
