"""`python -m vdt_hpc.status` on real Slurm, with accounting and without."""

import subprocess
import sys

import pytest

from tests.slurm.daemons import wait_until
from tests.slurm.site import HOME, Site

TAKEN = ("--partition=a40", "--gres=gpu:a40:4", "--time=2")


class Watched(Site):
    """A site, and what status says of its run."""

    def words(self, *options):
        return [sys.executable, "-m", "vdt_hpc.status", "tiny", "--root", str(self.root / "runs"), *options]

    def status(self):
        """What status prints; and its line on the run's state."""
        done = subprocess.run(self.words(), cwd=HOME, env=self.cluster.env(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout, " ".join(done.stdout.splitlines()[1].split())

    def wait_for_status(self, words, seconds=60):
        def complaint():
            return f"no {words!r} in {self.status()[0]}{self.logs()}"

        wait_until(lambda: words in self.status()[1], seconds, complaint)

    def follow(self):
        output = self.root / "followed"
        process = subprocess.Popen(
            self.words("--logs"), cwd=HOME, env=self.cluster.env(), stdout=output.open("w"), stderr=subprocess.STDOUT
        )
        return process, output


@pytest.fixture
def following():
    """Followers, which end with the test."""
    processes = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_a_run_from_the_queue_to_its_end_and_its_log_all_the_way(accounting_cluster, tmp_path, following):
    site = Watched(accounting_cluster, tmp_path, {"a40": 1})
    blocker = accounting_cluster.submit("sleep 600", *TAKEN)
    accounting_cluster.wait_for_state(blocker, "RUNNING")
    job = site.launch("a40")
    site.wait_for_status("state pending (Resources), starts about ")
    process, output = site.follow()
    following.append(process)
    wait_until(output.read_text, 20, "nothing is followed")
    accounting_cluster.run("scancel", blocker)
    site.wait_for_status("state running on gpu-a40 since ")
    site.wait_for_clips(200)
    accounting_cluster.run("scontrol", "requeue", job)
    site.wait_for_status("state requeued")
    site.wait_for(job, "COMPLETED", timeout=120)
    site.wait_for_status("state complete")
    assert process.wait(timeout=30) == 0

    lines = output.read_text().splitlines()
    log = site.paths.jobs_of("train", accounting_cluster.layout.cluster_name) / f"{job}_0_log.out"
    assert lines[0].startswith(f"==> {log} <== train, job {job} on a40: pending (Resources), starts about ")
    assert any("on a40: requeued" in line for line in lines)
    assert any("resuming from" in line for line in lines)
    assert any("train: 1,200/1,200 clips" in line for line in lines)
    assert any(line.endswith(f"train, job {job} on a40: complete") for line in lines)
    shown, _ = site.status()
    assert "2 jobs, 1 restart, " in shown
    assert "GPU hours on a40" in shown
    rows = [line.split() for line in shown.splitlines() if " a40 x 1 " in line]
    assert [row[0] for row in rows] == [f"{job}-0", f"{job}-1"], shown
    assert "note:" not in shown


def test_without_accounting_a_cancelled_job_is_cancelled(cluster, tmp_path):
    site = Watched(cluster, tmp_path, {"a40": 1})
    blocker = cluster.submit("sleep 600", *TAKEN)
    cluster.wait_for_state(blocker, "RUNNING")
    job = site.launch("a40")
    site.wait_for_status("state pending (Resources)")
    cluster.run("scancel", job)
    site.wait_for_status("state cancelled")
    done = subprocess.run(site.words("--logs"), cwd=HOME, env=cluster.env(), capture_output=True, text=True)
    assert done.returncode == 0
    assert "cancelled" in done.stdout
    assert done.stdout.endswith("nothing of train runs or waits\n")
