"""The stage `train` as real processes, one per rank, that start in a fraction of a second.

They are forked from a server that has imported torch, and that has neither threads nor tensors yet. Everything else is
as in a job: environment of the launcher, process group, signals, files on disk.
"""

import importlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback

from tests.jobs import made_up
from vdt_hpc.errors import UserError

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["torch", "torch._dynamo", "jobs.train", "jobs.holding", "jobs.loop", "torch.utils.tensorboard", "tests.jobs.ranks"]
)
_numbers = itertools.count()


class Ranks:
    """One job that trains a made-up run; latents must lie under `root` already.

    Args:
        root: as for `made_up.partition`.
        changes: as for `made_up.config`.
        world_size: processes.
        before: `module:function`, called in every process before the stage, to put faults in.
        then: (changes, fields of the partition) of runs that the same processes train next, each under another name.
        partition: fields of the partition.
    """

    def __init__(self, root, changes, world_size=1, before="", then=(), **partition):
        self.folder = root / "ranks" / f"{os.getpid()}-{next(_numbers)}"
        self.folder.mkdir(parents=True)
        runs = [(some, {"tasks_per_node": world_size, **fields}) for some, fields in [(changes, partition), *then]]
        self.processes = [
            _context.Process(target=_rank, args=(rank, world_size, root, runs, self.folder, before), daemon=True)
            for rank in range(world_size)
        ]
        for process in self.processes:
            process.start()

    def kill(self, number=signal.SIGKILL, ranks=None):
        for rank, process in enumerate(self.processes):
            if (ranks is None or rank in ranks) and process.is_alive():
                os.kill(process.pid, number)

    def join(self, seconds=120):
        """Wait until all have ended."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.1, deadline - time.monotonic()))
            assert not process.is_alive(), self.said()

    def outcomes(self, seconds=120):
        """How each rank ended: {"complete": ..., "summary": ...}, {"error": line}, {"crash": traceback}, or None."""
        self.join(seconds)
        paths = [self.folder / f"{rank}.json" for rank in range(len(self.processes))]
        return [json.loads(path.read_text()) if path.exists() else None for path in paths]

    def said(self, rank=0):
        """What a rank has printed so far."""
        path = self.folder / f"{rank}.log"
        return path.read_text() if path.exists() else ""

    def wait_for(self, condition, seconds=60):
        """Wait until a condition holds while all ranks live."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert all(process.is_alive() for process in self.processes), self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.002)


def train(root, changes, world_size=1, **options):
    """Train to the end; returns the outcomes, which are all complete."""
    ranks = Ranks(root, changes, world_size, **options)
    outcomes = ranks.outcomes()
    assert all(outcome and outcome.get("complete") for outcome in outcomes), (outcomes, ranks.said())
    return outcomes


def _rank(rank, world_size, root, runs, folder, before):
    log = os.open(folder / f"{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.environ["SLURM_CPUS_PER_TASK"] = "1"
    if world_size > 1:
        os.environ |= {
            "SUBMITIT_EXECUTOR": "local",
            "SUBMITIT_LOCAL_JOB_ID": folder.name,
            "SUBMITIT_LOCAL_NTASKS": str(world_size),
            "SUBMITIT_LOCAL_GLOBALID": str(rank),
            "SUBMITIT_LOCAL_LOCALID": str(rank),
        }
    outcome = {}
    try:
        if before:
            module, _, function = before.partition(":")
            getattr(importlib.import_module(module), function)()
        from jobs import train as stage

        for changes, fields in runs:
            result = stage.run(made_up.config(**changes), made_up.partition(root, **fields))
            outcome = {"complete": result.complete, "summary": result.summary}
            if not result.complete:
                break
    except UserError as error:
        outcome = {"error": str(error)}
    except Exception:
        outcome = {"crash": traceback.format_exc()}
    (folder / f"{rank}.json").write_text(json.dumps(outcome))
