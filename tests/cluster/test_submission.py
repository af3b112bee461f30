"""What sbatch is given: golden text, chains, hostile paths, refusals. A stand-in for sbatch keeps what it gets."""

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vdt_hpc.cluster.executor import slurm_executor, slurm_parameters, submission_text
from vdt_hpc.experiment.partition import Partition

HOME = Path(__file__).parents[2]
FULL = {
    "name": "big",
    "slurm_partition": "gpu-long",
    "account": "vision",
    "qos": "high",
    "constraint": "ib",
    "gres": "gpu:a100:5",
    "gpus_per_node": 5,
    "cpus_per_task": 8,
    "mem_gb": 240.5,
    "timeout_min": 90,
    "save_margin_s": 150,
    "wckey": False,
    "setup": ("module load cuda",),
}

GOLDEN = """#!/bin/bash

# Parameters
#SBATCH --account=vision
#SBATCH --constraint=ib
#SBATCH --cpus-per-task=8
#SBATCH --dependency=afterok:11:12
#SBATCH --error=/shared/jobs/train/%j_0_log.err
#SBATCH --gres=gpu:a100:5
#SBATCH --job-name=mission-train
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=246272M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=5
#SBATCH --open-mode=append
#SBATCH --output=/shared/jobs/train/%j_0_log.out
#SBATCH --partition=gpu-long
#SBATCH --qos=high
#SBATCH --requeue
#SBATCH --signal=USR2@150
#SBATCH --time=90

# setup
module load cuda
export PYTHONPATH=/shared/code${{PYTHONPATH:+:$PYTHONPATH}}
export VDT_HPC_WEIGHTS=/shared/weights
cd /shared/code
trap : TERM USR2
{python} -m vdt_hpc.cluster.before /shared/jobs/train || exit

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /shared/jobs/train/%j_%t_log.out --error /shared/jobs/train/%j_%t_log.err \
--kill-on-bad-exit=1 --cpus-per-task=8 {python} -u -m submitit.core._submit /shared/jobs/train


# teardown
{python} -m vdt_hpc.cluster.after /shared/jobs/train $?"""


def test_golden_submission_text(monkeypatch):
    monkeypatch.setenv("VDT_HPC_WEIGHTS", "/shared/weights")
    executor = slurm_executor(
        Partition(**FULL), Path("/shared/jobs/train"), "mission-train", Path("/shared/code"), "afterok:11:12"
    )
    expected = GOLDEN.format(python=shlex.quote(sys.executable))
    assert submission_text(executor) == expected


def test_typed_and_untyped_gpus_never_both():
    typed = slurm_parameters(Partition(**FULL), Path("x"), "x", Path("y"))
    untyped = slurm_parameters(Partition(**FULL | {"gres": None}), Path("x"), "x", Path("y"))
    assert (typed.get("gres"), typed.get("gpus_per_node")) == ("gpu:a100:5", None)
    assert (untyped.get("gres"), untyped.get("gpus_per_node")) == (None, 5)


def test_the_workload_key_is_sent_unless_the_site_refuses_it():
    with_key = slurm_executor(Partition(**FULL | {"wckey": True}), Path("/x"), "x", Path("/y"))
    assert "--wckey=submitit" in submission_text(with_key)
    assert "wckey" not in submission_text(slurm_executor(Partition(**FULL), Path("/x"), "x", Path("/y")))


@pytest.fixture
def fake_slurm(tmp_path):
    """A PATH whose sbatch keeps each submission as a file and answers with the next number."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "sbatch": f'n=$(ls "{tmp_path}"/sub-* 2>/dev/null | wc -l); cp "$1" "{tmp_path}/sub-$((n+1))";'
        ' echo "Submitted batch job $((n+101))"',
        "srun": "exit 1",
    }
    for name, body in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def launch(*arguments, env=None, cwd=HOME):
    command = [sys.executable, "-m", "vdt_hpc.launch", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_a_chain_waits_for_its_parents_and_what_was_shown_is_what_is_sent(tmp_path, fake_slurm):
    root = tmp_path / "runs"
    words = ["encode", "train", "--run", "smoke", "--partition", "a40", "--root", root]
    done = launch(*words, env=fake_slurm)
    assert done.returncode == 0, done.stderr
    assert "as job 101" in done.stdout
    assert "as job 102, after job 101" in done.stdout
    first, second = ((tmp_path / f"sub-{number}").read_text() for number in (1, 2))
    assert "--dependency" not in first
    assert "#SBATCH --dependency=afterok:101" in second
    shown = launch(*words, "--dry-run").stdout
    assert first in shown
    pickles = list((root / "smoke" / "jobs").rglob("*_submitted.pkl"))
    assert len(pickles) == 2
    assert all(path.stat().st_size < 20_000 for path in pickles)


def test_hostile_path_names_reach_the_shell_unharmed(tmp_path, fake_slurm):
    root = tmp_path / "a b'c$(touch pwned)\"d"
    done = launch("train", "--run", "smoke", "--partition", "a40", "--root", root, env=fake_slurm)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "sub-1").read_text()
    command = next(line for line in text.splitlines() if line.startswith("srun"))
    assert str(root / "smoke" / "jobs" / "train") in shlex.split(command)
    assert not list(tmp_path.rglob("pwned"))


def test_no_sbatch_is_one_line(tmp_path):
    env = {**os.environ, "PATH": str(tmp_path)}
    done = launch("train", "--run", "smoke", "--partition", "a100", "--root", tmp_path, env=env)
    assert done.returncode == 2
    assert done.stderr == (
        "error: sbatch is not on PATH; run this on a login node of the cluster, or use --partition local\n"
    )


def test_a_refusal_is_passed_on(tmp_path, fake_slurm):
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text("#!/bin/bash\necho 'sbatch: error: invalid account' >&2; exit 1\n")
    done = launch("train", "--run", "smoke", "--partition", "a100", "--root", tmp_path / "r", env=fake_slurm)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "error: sbatch refused the job: sbatch: error: invalid account"
