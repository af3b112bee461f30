"""The test cluster is a real one: what the program's own tests may rely on, shown with plain sbatch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.slurm import daemons
from tests.slurm.cluster import Cluster, main
from tests.slurm.daemons import ClusterError, Daemon, job_processes

HOME = Path(__file__).parents[2]
DEAF = """echo start $SLURM_RESTART_COUNT
srun bash -c 'trap "echo TERM" TERM; echo ready; while :; do sleep 0.1; done' &
trap : TERM
while :; do sleep 0.1; done"""  # a job that hears TERM and stays


def running(cluster, script, *options, **more):
    job = cluster.submit(script, "--requeue", "--open-mode=append", *options, **more)
    cluster.wait_for_state(job, "RUNNING", timeout=20)
    return job


def test_both_nodes_are_idle_with_their_gpus(cluster):
    assert cluster.node_states() == {"gpu-a100": "idle", "gpu-a40": "idle"}
    rows = cluster.run("sinfo", "-h", "-o", "%R %l %G").stdout.split("\n")
    assert rows[:3] == ["a100 1-00:00:00 gpu:a100:5", "a40 12:00:00 gpu:a40:4", "devel 1:00:00 gpu:a40:4"]


def test_one_task_per_gpu_under_srun(cluster):
    words = ["-p", "a100", "--gres=gpu:a100:5", "--ntasks-per-node=5", "--cpus-per-task=8", "--mem=240G"]
    job = cluster.submit("srun bash -c 'echo $SLURM_PROCID of $SLURM_NTASKS sees $CUDA_VISIBLE_DEVICES'", *words)
    cluster.wait_for_state(job, "COMPLETED")
    assert sorted(cluster.output(job).split("\n"))[1:] == [f"{rank} of 5 sees 0,1,2,3,4" for rank in range(5)]


def test_a_gpu_of_another_type_or_too_many_are_refused(cluster):
    for gres in ("gpu:a40:1", "gpu:a100:6"):
        with pytest.raises(ClusterError, match="Requested node configuration is not available"):
            cluster.submit("true", "-p", "a100", f"--gres={gres}")


def test_an_ordinary_user_submits_and_the_job_is_theirs(cluster):
    if cluster.ordinary_user is None:
        pytest.skip("only root's daemons run jobs of other users")
    job = cluster.submit("srun id -un", "-p", "a40", user=cluster.ordinary_user)
    cluster.wait_for_state(job, "COMPLETED")
    assert cluster.output(job) == "nobody\n"
    assert cluster.job(job)["UserId"].startswith("nobody")


def test_a_requeued_job_keeps_its_id(cluster):
    job = running(cluster, "echo start $SLURM_RESTART_COUNT; srun sleep 100", "-p", "a100", "--gres=gpu:a100:5")
    cluster.wait_for_output(job, "start")
    cluster.run("scontrol", "requeue", job)
    cluster.wait_for_state(job, "RUNNING", restarts=1, timeout=40)
    cluster.wait_for_output(job, "start 1")
    starts = [line for line in cluster.output(job).splitlines() if line.startswith("start")]
    assert starts == ["start", "start 1"]


def test_preemption_is_term_at_once_and_a_requeue_after_the_grace_time(cluster):
    cluster.set_grace_time(5)
    job = running(cluster, DEAF, "-p", "a40", "--gres=gpu:a40:4")
    cluster.wait_for_output(job, "ready")
    cluster.submit("true", "-p", "devel", "--gres=gpu:a40:4")
    cluster.wait_for_output(job, "TERM", timeout=10)
    heard = time.monotonic()
    cluster.wait_for_state(job, "COMPLETING", "PENDING", restarts=1, timeout=40)
    assert time.monotonic() - heard > 4
    assert "DUE TO PREEMPTION" in cluster.output(job)


def test_preemption_without_grace_is_at_once(cluster):
    cluster.set_grace_time(0)
    job = running(cluster, "srun sleep 100", "-p", "a40", "--gres=gpu:a40:4")
    urgent = cluster.submit("true", "-p", "devel", "--gres=gpu:a40:4")
    cluster.wait_for_state(urgent, "COMPLETED", timeout=20)
    assert cluster.job(job)["Restarts"] == "1"


def test_test_only_answers_on_stderr(cluster):
    done = cluster.run("sbatch", "--test-only", "-p", "a40", "--gres=gpu:a40:4", "--wrap=true")
    assert done.stdout == ""
    assert "to start at" in done.stderr


def test_a_job_outlives_its_nodes_daemon_and_the_controller(cluster):
    job = running(cluster, "srun bash -c 'echo ready; exec sleep 100'", "-p", "a100")
    cluster.wait_for_output(job, "ready")  # a daemon that is killed while it starts a task takes the job along
    pids = {process.pid for process in job_processes(cluster.configuration)}
    cluster.kill_slurmd("gpu-a100")
    cluster.restart_slurmctld()
    cluster.start_slurmd("gpu-a100")
    cluster.wait_ready()
    assert cluster.job_state(job) == "RUNNING"
    assert {process.pid for process in job_processes(cluster.configuration)} >= pids
    assert cluster.job(job)["Restarts"] == "0"


def test_a_job_of_a_crashed_node_starts_again_when_the_node_is_back(cluster):
    job = running(cluster, "srun sleep 100", "-p", "a100")
    other = running(cluster, "srun sleep 100", "-p", "a40")
    cluster.crash_node("gpu-a100")
    cluster.wait_for_state(job, "PENDING", restarts=1, timeout=10)
    assert cluster.node_states() == {"gpu-a100": "down", "gpu-a40": "mixed"}
    cluster.start_slurmd("gpu-a100")
    cluster.wait_for_state(job, "RUNNING", restarts=1, timeout=30)
    assert cluster.job(other)["Restarts"] == "0"


def test_a_drained_node_starts_nothing_until_it_is_resumed(cluster):
    cluster.drain("gpu-a40")
    job = cluster.submit("true", "-p", "a40")
    time.sleep(3)
    assert cluster.job_state(job) == "PENDING"
    cluster.resume("gpu-a40")
    cluster.wait_for_state(job, "COMPLETED", timeout=20)


def test_an_array_and_jobs_that_depend_on_others(cluster):
    array = cluster.submit("echo $SLURM_ARRAY_TASK_ID", "-p", "a100", "--array=0-2")
    after = cluster.submit("true", "-p", "a100", f"--dependency=afterok:{array}")
    broken = cluster.submit("false", "-p", "a100")
    never = cluster.submit("true", "-p", "a100", f"--dependency=afterok:{broken}", "--kill-on-invalid-dep=yes")
    cluster.wait_for_state(after, "COMPLETED", timeout=30)
    assert [cluster.output(f"{array}_{index}") for index in range(3)] == ["0\n", "1\n", "2\n"]
    cluster.wait_for_state(never, "CANCELLED", timeout=30)


def test_two_clusters_side_by_side(cluster, second_cluster):
    ids = [second_cluster.submit("srun sleep 100", "-p", "gpu-long", "--gpus-per-node=8")]
    second_cluster.wait_for_state(ids[0], "RUNNING")
    assert cluster.run("squeue", "-h").stdout == ""
    with pytest.raises(ClusterError, match="invalid partition"):
        second_cluster.submit("true", "-p", "a100")


def test_accounting_answers_where_there_is_one(accounting_cluster):
    job = accounting_cluster.submit("exit 3", "-p", "a100")
    accounting_cluster.wait_for_state(job, "FAILED")
    rows = ["sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode"]
    daemons.wait_until(lambda: accounting_cluster.run(*rows).stdout == "FAILED|3:0\n", 20, "no record of the job")


def test_without_accounting_sacct_fails(cluster):
    assert cluster.run("sacct", check=False).returncode == 1


def processes_of(folder):
    """Living processes that name a folder in their command or environment, but this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            text = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text and int(path.name) != os.getpid():
            found.append(path.name)
    return found


def test_by_hand_from_start_to_stop(cluster, tmp_path, capsys, monkeypatch):
    folder = Path("/tmp") / f"by-hand-{os.getpid()}"
    program = [sys.executable, Path(__file__).with_name("cluster.py")]
    started = subprocess.run([*program, "start", "--folder", folder], cwd=tmp_path, capture_output=True, text=True)
    try:
        assert started.stdout == f"export SLURM_CONF={folder}/slurm.conf\n", started.stderr
        job = running(Cluster(folder), "srun env -i sleep 100", "-p", "a100")  # hard to find: it has no environment
        with pytest.raises(SystemExit, match=f"error: a cluster runs in {folder}; stop it first"):
            main(["start", "--folder", str(folder)])
        monkeypatch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
        main(["status"])
        assert "slurmd-gpu-a40: runs" in capsys.readouterr().out
        sleeping = [process for process in job_processes(folder / "slurm.conf") if process.alive()]
        assert Cluster(folder).job_state(job) == "RUNNING"
    finally:
        main(["stop", "--folder", str(folder)])
        monkeypatch.delenv("SLURM_CONF", raising=False)
    assert not any(process.alive() for process in sleeping)
    assert processes_of(folder) == []
    assert cluster.run("squeue").returncode == 0
    subprocess.run(["rm", "-r", folder], check=True)


def test_a_cluster_whose_test_was_killed_is_stopped_by_the_next(cluster):
    script = (
        "import time; from tests.slurm.cluster import Cluster\n"
        "with Cluster() as cluster: print(cluster.folder, flush=True); time.sleep(99)"
    )
    killed = subprocess.Popen([sys.executable, "-c", script], cwd=HOME, stdout=subprocess.PIPE, text=True)
    folder = Path(killed.stdout.readline().strip())
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert all(daemon.alive() for daemon in Daemon.all_of(folder))
    Cluster.stop_abandoned()
    assert processes_of(folder) == []
    assert not folder.exists()
    assert cluster.run("squeue").returncode == 0


def test_mistakes_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "mine").touch()
    with pytest.raises(SystemExit, match=r"error: .* is no cluster that was started here"):
        main(["stop", "--folder", str(tmp_path)])
    monkeypatch.delenv("SLURM_CONF", raising=False)
    with pytest.raises(SystemExit, match="error: which cluster"):
        main(["status"])
    monkeypatch.setattr(daemons, "SEARCHED", str(tmp_path))
    with pytest.raises(SystemExit, match=r"error: slurmctld is not installed: apt-get install .* slurm-wlm"):
        main(["start", "--folder", str(tmp_path / "new")])
    assert (tmp_path / "mine").exists()
