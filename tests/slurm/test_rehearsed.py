"""A rehearsal inside a job of Slurm: the tasks of the profile, as processes of the node, on the GPUs of the job."""

import subprocess
import sys
from pathlib import Path

from tests.slurm.daemons import wait_until
from tests.slurm.site import HOME, Site, job_tasks


def test_a_rehearsal_on_a_node_of_the_partition(cluster, tmp_path):
    site = Site(cluster, tmp_path / "site", {"a40": 2})
    blocking = cluster.submit("sleep 300", "--partition=a40", "--gres=gpu:a40:1")
    cluster.wait_for_state(blocking, "RUNNING", timeout=20)
    allocation = ["srun", "--partition=a40", "--nodes=1", "--ntasks=1", "--cpus-per-task=2", "--gres=gpu:a40:2"]
    words = ["--rehearse", "--run", site.root / "run.yaml", "--partition", site.root / "a40.yaml"]
    command = [*allocation, sys.executable, "-m", "vdt_hpc.launch", *words, "--root", site.root / "runs"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(list(map(str, command)), cwd=HOME, env=cluster.env(), **streams)
    try:
        wait_until(lambda: len(job_tasks(cluster)) == 2 or process.poll() is not None, 60, "no tasks")
        environments = [Path(f"/proc/{task.pid}/environ").read_bytes().split(b"\0") for task in job_tasks(cluster)]
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, ""), output + errors
    assert "rehearsal of tiny with 2 tasks of a40: 6 updates of 12 clips" in output
    assert output.splitlines()[-1].startswith("bit for bit the same")
    assert len(environments) == 2
    for environment in environments:
        assert b"CUDA_VISIBLE_DEVICES=1,2" in environment  # the first is the other job's
        assert not [word for word in environment if word.startswith(b"SLURM_CPUS_PER_TASK=")]
    assert not site.paths.run.exists()
