"""Training as a partition says: with activation checkpointing bit for bit, compiled within rounding."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from jobs import train
from tests.jobs import made_up
from vdt_hpc.errors import UserError
from vdt_hpc.store import checkpoint

COMPILED = """
import json, sys
from jobs import train
from tests.jobs import made_up

run = made_up.config(**json.loads(sys.argv[2]))
assert train.run(run, made_up.partition(sys.argv[1], compile=True)).complete
from torch._dynamo.utils import counters
found = counters["inductor"]
print(json.dumps({kind: found[f"fxgraph_cache_{kind}"] for kind in ("hit", "miss", "bypass")}))
"""


def weights(paths):
    """Model, average and optimizer of the run's last checkpoint."""
    parts = checkpoint.read(checkpoint.folders(paths.checkpoints)[0])
    return {f"{part}.{name}": each for part in checkpoint.PARTS for name, each in parts.load(part).items()}


def losses(paths):
    lines = map(json.loads, paths.progress_log.read_text().splitlines())
    return [line.get("loss", line.get("val_loss")) for line in lines if line["kind"] in ("train", "validation")]


def trained(root, changes, counts=None, **fields):
    run, where = made_up.config(**changes), made_up.partition(root, **fields)
    paths = made_up.write_latents(run, where, counts)
    assert train.run(run, where).complete
    return paths


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_with_checkpointing_is_the_run_without(tmp_path, precision):
    changes = {"train__precision": precision, "model__depth": 2, "train__total_clips": 24}
    plain = trained(tmp_path / "plain", changes)
    lean = trained(tmp_path / "lean", changes, activation_checkpointing=True)
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(lean)[name]), name
    assert losses(plain) == losses(lean)


def test_no_compiler_ends_the_stage_with_one_line(tmp_path, monkeypatch):
    run, where = made_up.config(), made_up.partition(tmp_path, compile=True)
    made_up.write_latents(run, where)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler, and no-such-compiler is not on this machine's PATH"):
        train.run(run, where)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX") or "g++") is None, reason="no C++ compiler")
def test_a_compiled_run_is_the_run_within_rounding_and_the_next_process_compiles_nothing(tmp_path):
    changes = {"model__depth": 2, "train__total_clips": 12, "train__log_every_clips": 6}
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_CACHE_DIR")}
    counts = {"train": 7}  # no validation: it would compile once more

    def compiled(name):
        run = {**changes, "name": name}
        paths = made_up.write_latents(made_up.config(**run), made_up.partition(tmp_path / "compiled"), counts)
        command = [sys.executable, "-c", COMPILED, str(tmp_path / "compiled"), json.dumps(run)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return paths, json.loads(done.stdout.splitlines()[-1])

    plain = trained(tmp_path / "plain", changes, counts)
    first, told = compiled("first")
    assert told["miss"] > 0 == told["bypass"]
    second, told_again = compiled("second")
    assert told_again == {"hit": told["miss"], "miss": 0, "bypass": 0}
    assert (tmp_path / "compiled" / "compiled" / "inductor").is_dir()
    assert losses(first) == pytest.approx(losses(plain), rel=1e-4)
    assert losses(second) == losses(first)
    expected, found = weights(plain), weights(first)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if name.endswith("exp_avg"):  # the average of the gradients; weights alone hide a sign that AdamW turns
            torch.testing.assert_close(found[name], tensor, rtol=1e-2, atol=1e-6, msg=name)
