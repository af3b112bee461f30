"""What a training run has left on the disk, read back for comparison."""

import json
import os
from pathlib import Path

import torch

from vdt_hpc.experiment.signature import signature
from vdt_hpc.lease.lease import read_holder
from vdt_hpc.store import checkpoint


def log_lines(paths, kind=None):
    """The whole lines of a run's log, all or of one kind."""
    if not paths.progress_log.exists():
        return []
    lines = [json.loads(line) for line in paths.progress_log.read_text().splitlines() if line.endswith("}")]
    return [line for line in lines if kind in (None, line["kind"])]


def curve(paths, kind, value):
    """Position -> a value of a kind of log line; no position may have two lines."""
    lines = log_lines(paths, kind)
    found = {line["clips_seen"]: line[value] for line in lines}
    assert len(found) == len(lines), [line["clips_seen"] for line in lines]
    return found


def positions(paths, kind):
    """Positions of a kind of log line, in order."""
    return [line["clips_seen"] for line in log_lines(paths, kind)]


def newest(paths):
    """The newest checkpoint, None where there is none; none that is named as one may be damaged."""
    return checkpoint.newest(paths.checkpoints, signature(paths.config), say=_refuse)


def final_state(paths):
    """Tensors of the newest checkpoint, by part; that checkpoint is the one with the highest name."""
    found = newest(paths)
    assert found is not None
    assert found.clips_seen >= paths.config.train.total_clips
    return {part: found.load(part) for part in checkpoint.PARTS}


def state_at(paths, clips):
    """Tensors of the checkpoint at a position, by part."""
    found = checkpoint.read(paths.checkpoints / checkpoint.folder_name(clips))
    return {part: found.load(part) for part in checkpoint.PARTS}


def newest_clips(paths):
    """Position of the newest checkpoint, 0 where there is none."""
    found = newest(paths)
    return found.clips_seen if found else 0


def assert_equal(first, second):
    """Bit for bit the same tensors in all parts."""
    for part in checkpoint.PARTS:
        assert first[part].keys() == second[part].keys()
        for name, tensor in first[part].items():
            assert tensor.dtype == second[part][name].dtype
            assert torch.equal(tensor, second[part][name]), (part, name)


def assert_same_run(paths, reference):
    """A run that ended as the one that was never disturbed: its weights, and every number of its log, once."""
    assert_equal(final_state(paths), final_state(reference))
    for kind, value in (("train", "loss"), ("validation", "val_loss")):
        assert curve(paths, kind, value) == curve(reference, kind, value)
        assert positions(paths, kind) == positions(reference, kind)
    assert positions(paths, "end") == [paths.config.train.total_clips]


def distances(state, reference):
    """Relative L2 distance of the weights, of their average, and of each of the optimizer's moments."""
    vectors = [_vectors(which) for which in (state, reference)]
    assert vectors[0].keys() == vectors[1].keys()
    return {name: float((vectors[0][name] - kept).norm() / kept.norm()) for name, kept in vectors[1].items()}


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


def _vectors(state):
    moments = {
        kind: {name: tensor for name, tensor in state["optimizer"].items() if name.endswith(f".{kind}")}
        for kind in ("step", "exp_avg", "exp_avg_sq")
    }
    parts = {"model": state["model"], "ema": state["ema"], **moments}
    return {name: torch.cat([part[key].double().flatten() for key in sorted(part)]) for name, part in parts.items()}


def _refuse(line):
    raise AssertionError(line)
