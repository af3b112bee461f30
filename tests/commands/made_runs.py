"""Runs as jobs would have left them on the disk, and commands that stand in for Slurm's on PATH."""

import datetime
import json
import os
import stat
import time

import yaml

from vdt_hpc.commandline import load_run, run_paths
from vdt_hpc.lease.owner import Owner

CLUSTER = "mission"


def ago(seconds):
    """A moment of the past, as it stands in the files."""
    moment = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
    return moment.isoformat(timespec="seconds")


def append(path, **line):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


class MadeRun:
    """One run's folder, filled step by step."""

    def __init__(self, root, name, total_clips=2_000_000):
        self.paths = run_paths(root / name)
        self.total_clips = total_clips

    def started(self):
        """What the first training job writes before it trains."""
        config = load_run("smoke", [f"name={self.paths.run.name}", f"train.total_clips={self.total_clips}"])
        self.paths.run.mkdir(parents=True, exist_ok=True)
        self.paths.run_config.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        return self

    def submitted(self, job, stage="train", partition="a100", seconds_ago=3600, cluster=CLUSTER, **more):
        line = {"job": job, "stage": stage, "partition": partition, "cluster": cluster, "command": "c", **more}
        append(self.paths.submissions, event="submitted", time=ago(seconds_ago), **line)
        return self

    def wished(self, job, why):
        append(self.paths.submissions, event="ended", jobs=[job], cluster=CLUSTER, why=why, time=ago(0))
        return self

    def leg(
        self, job, start_ago, end_ago=None, why=None, clips=(0, 0), lost=0, partition="a100", cluster=CLUSTER, tasks=5
    ):
        where = {"partition": partition, "world_size": tasks, "cluster": cluster, "node": f"gpu-{partition}"}
        append(self.paths.ledger, event="start", job=job, time=ago(start_ago), clips=clips[0], **where)
        if why is not None:
            end = None if end_ago is None else ago(end_ago)
            append(self.paths.ledger, event="end", job=job, time=end, why=why, clips=clips[1], lost_clips=lost)
        return self

    def logged(self, clips, seconds_ago=5, clips_per_s=35.2, end=False):
        values = {"loss": 0.1234, "clips_per_s": clips_per_s, "mfu": 0.41}
        append(self.paths.progress_log, kind="train", clips_seen=clips, time=ago(seconds_ago), **values)
        if end:
            append(self.paths.progress_log, kind="end", clips_seen=clips, time=ago(seconds_ago))
        return self

    def log(self, job, text="hello\n", errors="", stage="train", cluster=CLUSTER):
        folder = self.paths.jobs_of(stage, cluster)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{job}_0_log.out").write_text(text)
        (folder / f"{job}_0_log.err").write_text(errors)
        return self

    def outcome(self, job, status, message="", rank=0, stage="train", cluster=CLUSTER):
        path = self.paths.jobs_of(stage, cluster) / f"{job}_{rank}_outcome.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"status": status, "message": message, "outputs": {}}))
        return self

    def note(self, job, why, restart=0, stage="train", cluster=CLUSTER):
        path = self.paths.jobs_of(stage, cluster) / f"{job}-{restart}_end.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"why": why, "time": ago(0)}))
        return self

    def held(self, job="", silent_s=3, cluster=CLUSTER, restart=0):
        """A lease whose holder runs on another machine."""
        owner = {**Owner.this_process("a100").to_json(), "host": "gpu-a100", "boot_id": "another", "job_id": job}
        owner |= {"cluster": cluster if job else "", "restart_count": restart}
        path = self.paths.lease / "000001.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"released": False, **owner}))
        os.utime(path, (time.time() - silent_s,) * 2)
        return self


class StandIn:
    """squeue, sacct and scontrol, as scripts that answer what a test says; each call leaves a line in `calls`."""

    def __init__(self, folder):
        self._bin = folder / "bin"
        self._bin.mkdir()
        self._calls = folder / "calls"
        self.command("scontrol", f"echo 'ClusterName             = {CLUSTER}'")
        self.squeue()
        self.command("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")

    def command(self, name, body):
        path = self._bin / name
        path.write_text(f'#!/bin/bash\necho {name} >> "{self._calls}"\n{body}\n')
        path.chmod(path.stat().st_mode | stat.S_IEXEC)

    def missing(self, *names):
        for name in names:
            (self._bin / name).unlink()

    def squeue(self, *rows):
        """Rows: job, partition, state, reason, start, nodes."""
        lines = [
            f"{job}|tiny-train|{partition}|{state}|{reason}|{start}|1:00|{nodes}"
            for job, partition, state, reason, start, nodes in rows
        ]
        self.command("squeue", "/bin/cat <<'END'\n" + "\n".join(lines) + "\nEND" if lines else "true")

    def sacct(self, **words):
        """`job_123="FAILED"`."""
        lines = [f"{job.removeprefix('job_')}|{word}" for job, word in words.items()]
        self.command("sacct", "/bin/cat <<'END'\n" + "\n".join(lines) + "\nEND")

    def calls(self):
        return self._calls.read_text().split() if self._calls.exists() else []

    @property
    def path(self):
        """A PATH on which Slurm's commands are these alone."""
        return str(self._bin)
