"""What sbatch is given: golden text, chains, hostile paths, refusals. A stand-in for sbatch keeps what it gets."""

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vdt_hpc.cluster.executor import slurm_executor, slurm_parameters, submission_text
from vdt_hpc.cluster.job import StageJob
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


SBATCH = """#!/bin/bash
if [ "$1" = --test-only ]; then
    cat > /dev/null
    echo "sbatch: Job 7 to start at 2026-01-01T00:00:00 using 40 processors on nodes n1" >&2
    exit 0
fi
n=$(ls "{folder}"/sub-* 2>/dev/null | wc -l)
cp "$1" "{folder}/sub-$((n+1))"
echo "Submitted batch job $((n+101))"
"""
SCONTROL = """#!/bin/bash
[ "$2" = config ] && echo "ClusterName = mission" || for name in a100 a40; do
    echo "PartitionName=$name MaxTime=1-00:00:00 State=UP TotalNodes=1"
done
"""


@pytest.fixture
def fake_slurm(tmp_path):
    """A PATH whose sbatch keeps each submission as a file and answers with the next number."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {"sbatch": SBATCH, "scontrol": SCONTROL, "squeue": "#!/bin/bash\n", "srun": "#!/bin/bash\nexit 1\n"}
    for name, text in scripts.items():
        path = folder / name
        path.write_text(text.replace("{folder}", str(tmp_path)))
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def launch(*arguments, env=None, cwd=HOME):
    command = [sys.executable, "-m", "vdt_hpc.launch", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_a_chain_waits_for_its_parents_and_what_was_shown_is_what_is_sent(tmp_path, fake_slurm):
    root = tmp_path / "runs"
    words = ["streets", "encode", "--run", "smoke", "--partition", "a40", "--root", root]
    done = launch(*words, env=fake_slurm)
    assert done.returncode == 0, done.stderr
    assert "as job 101" in done.stdout
    assert "as job 102, after job 101" in done.stdout
    first, second = ((tmp_path / f"sub-{number}").read_text() for number in (1, 2))
    assert "--dependency" not in first
    assert "#SBATCH --dependency=afterok:101" in second
    shown = launch(*words, "--dry-run", env=fake_slurm).stdout
    assert first in shown
    pickles = list((root / "smoke" / "jobs").rglob("*_submitted.pkl"))
    assert len(pickles) == 2
    assert all(path.stat().st_size < 20_000 for path in pickles)


def test_hostile_path_names_reach_the_shell_unharmed(tmp_path, fake_slurm):
    root = tmp_path / "a b'c$(touch pwned)\"d"
    done = launch("streets", "--run", "smoke", "--partition", "a40", "--root", root, env=fake_slurm)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "sub-1").read_text()
    command = next(line for line in text.splitlines() if line.startswith("srun"))
    assert str(root / "smoke" / "jobs" / "streets" / "mission") in shlex.split(command)
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
    sbatch.write_text(sbatch.read_text().replace("n=$", "echo 'sbatch: error: invalid account' >&2; exit 1\nn=$"))
    done = launch("streets", "--run", "smoke", "--partition", "a100", "--root", tmp_path / "r", env=fake_slurm)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "error: sbatch refused the job: sbatch: error: invalid account"


def test_several_partitions_are_rivals_for_each_stage(tmp_path, fake_slurm):
    root = tmp_path / "runs"
    words = ["streets", "encode", "--run", "smoke", "--partition", "a100,a40", "--root", root]
    done = launch(*words, env=fake_slurm)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the first of them to start goes on") == 2
    sent = [(tmp_path / f"sub-{number}").read_text() for number in range(1, 5)]
    assert ["--partition=a100" in text for text in sent] == [True, False, True, False]
    assert all("--dependency='afterok:101?afterok:102'\n" in text for text in sent[2:])
    assert not any("--dependency" in text for text in sent[:2])
    shown = launch(*words, "--dry-run", env=fake_slurm).stdout
    assert sent[0] in shown
    assert sent[1] in shown


def test_an_array_is_one_submission(tmp_path, fake_slurm):
    root = tmp_path / "runs"
    words = ["streets", "encode", "train", "--array", "3", "--run", "smoke", "--partition", "a40", "--root", root]
    done = launch(*words, env=fake_slurm)
    assert done.returncode == 0, done.stderr
    assert "as job 102 (an array of 3), after job 101" in done.stdout
    array, train = ((tmp_path / f"sub-{number}").read_text() for number in (2, 3))
    assert "#SBATCH --array=0-2%3\n" in array
    assert "%A_%a_%t_log.out" in array
    assert "--array" not in train
    assert "--dependency=afterok:102\n" in train
    assert "#SBATCH --array=0-2%3\n" in launch(*words, "--dry-run", env=fake_slurm).stdout
    pickles = (root / "smoke" / "jobs" / "encode" / "mission").glob("102_*_submitted.pkl")
    shares = [StageJob.submitted(path.parent, path.name.removesuffix("_submitted.pkl")) for path in sorted(pickles)]
    assert [(job.array_index, job.array_size) for job in shares] == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--partition", "a100,a100"], "a partition is named twice in a100,a100; name each once"),
        (["--partition", "a100,local"], "this machine cannot be one of several partitions"),
        (
            ["--partition", "a100", "--array", "3"],
            "--array shares the work of encode, sample and evaluate, and none",
        ),
        (["encode", "--partition", "local", "--array", "3"], "--array needs a Slurm partition"),
        (["encode", "--partition", "a100,a40", "--array", "3"], "--array needs a single partition"),
        (["encode", "--partition", "a100", "--array", "0"], "--array takes a number of jobs, 1 or more"),
        (["--cancel", "nothing"], "no run 'nothing'"),
        (["train", "--cancel", "nothing"], "--cancel does not go with stages and overrides; leave that out"),
        (["--cancel", "x", "--run", "cityscapes", "--array", "1"], "--cancel does not go with --run, --array; leave"),
        (["--cancel", "x", "--replace", "--partition", ""], "--cancel does not go with --partition, --replace; leave"),
        (["--cancel", ""], "--cancel takes the name of a run, and it is empty"),
        (["--rehearse", "--array", "4", "--replace"], "--rehearse does not go with --array, --replace; leave that out"),
        (["--replace", "--partition", "local"], "--replace ends jobs that are in a queue, and this machine has none"),
    ],
)
def test_mistakes_are_one_line(tmp_path, words, said):
    done = launch(*words, "--root", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1


def test_the_plan_of_a_stage_that_does_not_train_has_no_batch(tmp_path):
    """The run's batch has fewer clips than the partition has tasks, which concerns training alone."""
    (tmp_path / "many.yaml").write_text("name: many\ncpus_per_task: 1\ntasks_per_node: 8\n")
    where = ["--run", "smoke", "--partition", tmp_path / "many.yaml", "--root", tmp_path / "runs"]
    plan = launch("sample", "evaluate", "batch.global_clips=5", "--dry-run", *where)
    assert (plan.returncode, plan.stderr) == (0, "")
    words = [line.split("  ")[0] for line in plan.stdout.partition("\n\n")[0].splitlines()]
    assert words == ["run", "stages", "latents", "frames", "partition", "time limit"]
    refused = launch("train", "sample", "batch.global_clips=5", "--dry-run", *where)
    assert refused.returncode == 2
    assert "batch.global_clips 5 is less than the 8 tasks of partition many" in refused.stderr


@pytest.mark.parametrize("where", ["{}/h100.yaml", "{}/a40.yaml,{}/h100.yaml", "auto:{}/a40.yaml,{}/h100.yaml"])
def test_a_copied_profile_has_a_name_of_its_own(tmp_path, where):
    for file in ("a40", "h100"):
        (tmp_path / f"{file}.yaml").write_text("name: a40\ncpus_per_task: 1\n")
    done = launch("--partition", where.replace("{}", str(tmp_path)), "--dry-run", "--root", tmp_path / "runs")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: the partition file {tmp_path}/h100.yaml has the name a40; a partition has the name of its file: set "
        "name: h100\n"
    )


def test_partitions_with_different_roots_would_write_different_runs(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\ncpus_per_task: 1\nroot: /shared/{name}\n")
    done = launch("--partition", f"{tmp_path}/one.yaml,{tmp_path}/two.yaml")
    assert done.returncode == 2
    assert "have different roots (/shared/one, /shared/two)" in done.stderr
