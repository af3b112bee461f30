"""What tests look at after a run: its log, its newest checkpoint, and what it must not leave behind."""

import json
import os
from pathlib import Path

import torch

from vdt_hpc.experiment.signature import signature
from vdt_hpc.lease.lease import read_holder
from vdt_hpc.store import checkpoint


def lines(paths, kind=None):
    text = paths.progress_log.read_text() if paths.progress_log.exists() else ""
    found = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [line for line in found if kind in (None, line["kind"])]


def positions(paths, kind):
    return [line["clips_seen"] for line in lines(paths, kind)]


def newest(paths, run):
    """The newest checkpoint, which must be whole; none before it is asked for."""
    said = []
    found = checkpoint.newest(paths.checkpoints, signature(run), say=said.append)
    assert not said
    return found


def state(paths, run):
    found = newest(paths, run)
    return {part: found.load(part) for part in checkpoint.PARTS}


def assert_same(first, second):
    """Bit for bit."""
    for part in checkpoint.PARTS:
        assert first[part].keys() == second[part].keys()
        for name, tensor in first[part].items():
            assert torch.equal(tensor, second[part][name]), (part, name)


def assert_same_run(paths, reference, run):
    """A run that ended as the one that was never disturbed: its weights, and every number of its log, once."""
    assert_same(state(paths, run), state(reference, run))
    for kind, value in (("train", "loss"), ("validation", "val_loss")):
        assert positions(paths, kind) == positions(reference, kind)
        assert [line[value] for line in lines(paths, kind)] == [line[value] for line in lines(reference, kind)]
    assert positions(paths, "end") == [run.train.total_clips]


def assert_tidy(paths):
    """The lease is free, and nothing half-written or temporary is left."""
    assert read_holder(paths.lease) is None
    assert not list(paths.checkpoints.glob(".*"))
    assert not list(paths.jobs.glob("rendezvous*"))


def processes_that_mention(text):
    """Processes other than this one whose command line or environment has a text, as `pid command`."""
    found = []
    for path in Path("/proc").iterdir():
        if not path.name.isdigit() or int(path.name) == os.getpid():
            continue
        try:
            command, environment = (path / "cmdline").read_bytes(), (path / "environ").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if str(text).encode() in command + environment:
            found.append(f"{path.name} {command.replace(bytes(1), b' ').decode()}")
    return found
