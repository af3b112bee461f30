"""What users and administrators do with a running cluster."""

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

from tests.slurm import daemons
from tests.slurm.daemons import ClusterError, wait_until

NOT_PASSED_ON = ("SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SINFO_", "SACCT_")


class Commands:
    """Slurm's commands on the cluster whose `folder` and `configuration` the heir names."""

    folder: Path
    configuration: Path

    def env(self, user=None):
        """The environment of commands: this cluster's, with nothing of a job that the tests may run in."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
        kept["PATH"] = daemons.SEARCHED
        if user is not None:
            kept |= {"USER": user, "LOGNAME": user, "HOME": str(self.home(user))}
        return kept | {"SLURM_CONF": str(self.configuration)}

    def run(self, *words, user=None, check=True, timeout=60, **options):
        """Run a command, as an ordinary user if one is named; options are those of subprocess.run."""
        options = {"cwd": self.home(user), "env": self.env(user), "capture_output": True, "text": True} | options
        if user is not None:
            entry = pwd.getpwnam(user)
            options |= {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        try:
            done = subprocess.run(list(map(str, words)), timeout=timeout, **options)
        except PermissionError as refused:
            done = subprocess.CompletedProcess(words, 126, "", str(refused))
        if check and done.returncode:
            raise ClusterError(f"{' '.join(map(str, words))} exited {done.returncode}: {done.stderr.strip()}")
        return done

    def home(self, user=None):
        """A folder where jobs of a user can write; output goes there."""
        home = self.folder / "home" / (user or "default")
        if not home.exists():
            home.mkdir()
            if user is not None:
                shutil.chown(home, user, pwd.getpwnam(user).pw_gid)
        return home

    def submit(self, script, *options, user=None):
        """Submit the lines of a bash script; returns the job's id."""
        done = self.run("sbatch", "--parsable", *options, user=user, input=f"#!/bin/bash\n{script}\n")
        return done.stdout.strip().split(";")[0]

    def job(self, job_id):
        """Fields of `scontrol show job`; empty for a job that Slurm does not know (any more)."""
        text = self.run("scontrol", "show", "job", "-o", job_id, check=False).stdout
        return dict(re.findall(r"(\S+?)=(\S*)", text.split("\n")[0]))

    def job_state(self, job_id):
        return self.job(job_id).get("JobState", "UNKNOWN")

    def output(self, job_id):
        """What a job has written so far."""
        path = Path(self.job(job_id)["StdOut"])
        return path.read_text() if path.exists() else ""

    def wait_for_state(self, job_id, *states, restarts=None, timeout=60):
        """Wait until a job is in one of the states, with that many restarts if given; returns its fields."""
        seen = {}

        def arrived():
            seen.update(self.job(job_id))
            return seen.get("JobState") in states and restarts in (None, int(seen["Restarts"]))

        def complaint():
            shown = [f"{key} {seen.get(key)}" for key in ("JobState", "Reason", "Restarts", "ExitCode")]
            return f"job {job_id} is not {' or '.join(states)} (restarts {restarts}): {', '.join(shown)}"

        wait_until(arrived, timeout, complaint)
        return seen

    def wait_for_output(self, job_id, words, timeout=30):
        """Wait until a job has written these words."""
        wait_until(lambda: words in self.output(job_id), timeout, lambda: f"no {words!r} in {self.output(job_id)!r}")

    def cancel_all(self):
        """Cancel every job and wait until the nodes are free of them."""
        ids = self.run("squeue", "-h", "-o", "%A").stdout.split()
        if ids:
            self.run("scancel", "--signal=KILL", *ids, check=False)
            self.run("scancel", *ids, check=False)
        wait_until(lambda: not self.run("squeue", "-h").stdout.strip(), 60, "jobs cannot be cancelled")

    def node_states(self):
        """State of every node, in sinfo's lower case words."""
        rows = self.run("sinfo", "-h", "-N", "-o", "%N %T", check=False).stdout.split("\n")
        return dict(row.split() for row in rows if row)

    def down(self, node):
        """Take a node for lost: its jobs are requeued. A node whose slurmd answers is back within seconds."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def drain(self, node):
        """Start nothing more on a node until `resume`; what runs there goes on."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def resume(self, node):
        """Put a drained node, or one that is down, back into service."""
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")

    @property
    def ordinary_user(self):
        """A user without privileges who can submit here, or None where the daemons have no privileges either."""
        return "nobody" if os.geteuid() == 0 else None
