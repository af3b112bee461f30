"""HDF5 files on a disk that is full: each writer says so in one line, and its process lives to say it."""

import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
WRITERS = {
    "samples": "samples.write_part(disk, 0, [draw.integers(0, 255, (1, 30, 64, 64, 3), np.uint8)] * 8, 'abcdefgh')",
    "measures": "measures.Measures(disk).write('a', 'b', measures.Definition('how'), 0, [features] * 8, 'abcdefgh')",
    "latents": "latents.write_shard(disk / 'train-00000.h5', latents.ShardContent(('a', 'b'), moments, moments, None))",
}
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from vdt_hpc.errors import UserError
from vdt_hpc.store import latents, measures, samples

disk, draw = Path(sys.argv[1]), np.random.default_rng(0)
features, moments = draw.random((400, 8, 9)), draw.random((2, 2, 5, 4, 99, 99)).astype(np.float16)

def write():
    {}

try:
    write()
except UserError as error:
    print(error)
    raise SystemExit(2) from None
"""


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_line_and_leaves_nothing(small_disk, writer):
    program = [sys.executable, "-c", PROGRAM.format(WRITERS[writer]), small_disk]
    done = subprocess.run(program, cwd=HOME, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(f"the disk is full: cannot write {small_disk}/")
    assert done.stderr == ""
    assert not [path for path in small_disk.rglob("*") if path.is_file()]
