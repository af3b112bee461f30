"""How fast training examples are prepared, and how long a VDT-S/2 step waits for them.

    SLURM_CPUS_PER_TASK=1 python tests/benchmarks/input.py

Latents of the size of Cityscapes' are made up in a temporary folder and opened twice: held in memory, and read clip by
clip (from the page cache: the folder was just written). The two take turns in every measurement, so that both see the
same load of the machine. On a GPU the step is bf16 with 16 clips; on the CPU it is fp32 with 1 clip and takes seconds,
so few are made. Rates are medians; waiting is the sum over all updates but the first. A minute or two on one core.
"""

import contextlib
import datetime
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

HOME = Path(__file__).parents[2]
sys.path.insert(0, str(HOME))
import torch  # noqa: E402

from jobs import ahead, examples  # noqa: E402
from jobs.trainer import Trainer  # noqa: E402
from tests.jobs import made_up  # noqa: E402
from vdt_hpc.dist import ProcessGroup, Task  # noqa: E402
from vdt_hpc.experiment import strict  # noqa: E402
from vdt_hpc.experiment.config import RunConfig  # noqa: E402
from vdt_hpc.experiment.partition import plan_batch  # noqa: E402
from vdt_hpc.experiment.provenance import code_commit  # noqa: E402

NUM_CLIPS = 300
FORMS = {"in memory": None, "clip by clip": 1e-9}
"""`memory_gb` of each."""
STEP_CLIPS = 16
ROUNDS, UPDATES_PER_ROUND = 5, 4
WAIT_LIMIT, PACED_S = 0.01, 1.0


def alone(share, step):
    """Clips per second of drawing and preparing in one thread."""
    started = time.perf_counter()
    for update in range(UPDATES_PER_ROUND):
        share.prepare(update * step)
    return UPDATES_PER_ROUND * step / (time.perf_counter() - started)


def through_threads(share, step):
    """Clips per second that come out of the threads when nothing else is done."""
    with ahead.Ahead(share.prepare, itertools.count(0, step)) as items:
        for _ in range(ahead.MAX_AHEAD):
            items.next()
        started = time.perf_counter()
        for _ in range(2 * UPDATES_PER_ROUND):
            items.next()
        return 2 * UPDATES_PER_ROUND * step / (time.perf_counter() - started)


def waiting_at(share, step, clips_per_s):
    """Share of the time that a step of a given rate waits; the step sleeps, as one that runs on a GPU does."""
    with ahead.Ahead(share.prepare, itertools.count(0, step)) as items:
        items.next()
        before_s, started = items.waited_s, time.perf_counter()
        while time.perf_counter() - started < PACED_S:
            due = time.perf_counter() + step / clips_per_s
            items.next()
            time.sleep(max(0.0, due - time.perf_counter()))
        return (items.waited_s - before_s) / (time.perf_counter() - started)


def fastest_step(share, step, clips_per_s):
    """The highest of some rates, in clips per second, at which the waiting stays below its limit."""
    rates = (clips_per_s * percent / 100 for percent in range(150, 0, -10))
    return next(rate for rate in rates if waiting_at(share, step, rate) < WAIT_LIMIT)


def train(shares, config, plan, group, num_updates):
    """Real updates, the forms in turn: {form: (clips per second, share of the time that was spent waiting)}."""
    trainer = Trainer(config, plan, group)
    seconds, waits = ({form: [] for form in shares} for _ in range(2))
    with contextlib.ExitStack() as stack:
        sources = {
            form: stack.enter_context(ahead.Ahead(share.prepare, itertools.count(0, plan.global_clips)))
            for form, share in shares.items()
        }
        for form in list(shares) * (num_updates + 1):
            before_s, started = sources[form].waited_s, time.perf_counter()
            _, norm = trainer.gradients(sources[form].next())
            trainer.update(1e-4, 0.999)
            float(norm)  # waits for the device
            seconds[form].append(time.perf_counter() - started)
            waits[form].append(sources[form].waited_s - before_s)
    return {
        form: (plan.global_clips / statistics.median(seconds[form][1:]), sum(waits[form][1:]) / sum(seconds[form][1:]))
        for form in shares
    }


def machine(device):
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    cores = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    return f"{datetime.date.today()}, {cpu.partition(':')[2].strip()}, {cores}, {name}, torch {torch.__version__}"


def configured(root, num_clips, precision):
    """The run and its plan, with that many clips in one update."""
    overrides = [f"batch.global_clips={num_clips}", f"train.precision={precision}"]
    config = strict.load(RunConfig, HOME / "configs/run/cityscapes-small.yaml", overrides)
    return config, plan_batch(config.batch, made_up.partition(root, max_clips_per_gpu=num_clips))


def print_table(rows):
    print(f"{'':36}" + "".join(f"{form:>16}" for form in FORMS))
    for name, values in rows.items():
        print(f"{name:36}" + "".join(f"{values[form]:>16}" for form in FORMS))


def measure(root):
    group = ProcessGroup(Task(), root)
    print(f"{machine(group.device)}, commit {code_commit()}", flush=True)
    config, plan = configured(root, STEP_CLIPS, "fp32")
    paths = made_up.write_latents(config, made_up.partition(root), {"train": NUM_CLIPS})
    held = {form: made_up.moments(config, paths, memory_gb=memory_gb) for form, memory_gb in FORMS.items()}
    shares = {form: examples.Share(config, plan, 0, moments) for form, moments in held.items()}
    rows = {}
    for name, rate in (("1 thread", alone), (f"{ahead.NUM_THREADS} threads", through_threads)):
        rounds = [{form: rate(share, STEP_CLIPS) for form, share in shares.items()} for _ in range(ROUNDS)]
        most = {form: statistics.median(turn[form] for turn in rounds) for form in FORMS}
        rows[name] = {form: f"{most[form]:,.0f} clips/s" for form in FORMS}
    fastest = {form: fastest_step(share, STEP_CLIPS, most[form]) for form, share in shares.items()}
    rows[f"fastest step that waits < {WAIT_LIMIT:.0%}"] = {form: f"{fastest[form]:,.0f} clips/s" for form in FORMS}
    num_clips, num_updates, precision = (STEP_CLIPS, 200, "bf16") if group.device.type == "cuda" else (1, 3, "fp32")
    config, plan = configured(root, num_clips, precision)
    shares = {form: examples.Share(config, plan, 0, moments) for form, moments in held.items()}
    trained = train(shares, config, plan, group, num_updates)
    rows[f"VDT-S/2, {precision}, {num_clips} clip(s)"] = {form: f"{trained[form][0]:,.3g} clips/s" for form in FORMS}
    rows["share of its time spent waiting"] = {form: f"{trained[form][1]:.4%}" for form in FORMS}
    print_table(rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))
