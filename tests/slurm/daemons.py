"""Daemons by pid file: whoever finds the folder can stop what was started there, whatever became of the starter."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PACKAGES = {
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sbatch": "slurm-wlm",
    "munged": "munge",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "mariadb": "mariadb-client",
}
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"])


class ClusterError(Exception):
    """The message is one line for the user."""


def program(name):
    """Path of a program; Debian keeps the daemons in /usr/sbin, which ordinary users do not search."""
    found = shutil.which(name, path=SEARCHED)
    if found is None:
        raise ClusterError(f"{name} is not installed: apt-get install --no-install-recommends {PACKAGES[name]}")
    return found


def free_ports(count):
    """Ports that nobody uses, below those that Linux gives to outgoing connections, Slurm's own among them."""
    ports = set()
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            ports.add(port)
    return list(ports)


def wait_until(condition, timeout, complaint):
    """Ask `condition` until it holds; after `timeout` seconds, a ClusterError with `complaint` or what it returns."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise ClusterError(complaint() if callable(complaint) else complaint)
        time.sleep(0.05)


class Process:
    """A process that is told from a later one with the same number by the moment of its start."""

    def __init__(self, pid, started=None):
        self.pid = int(pid)
        self._started = started or _start_moment(pid)

    def __str__(self):
        return f"{self.pid} {self._started}"

    def alive(self):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # if it is ours, it would stay as a zombie
        return self._started is not None and _start_moment(self.pid) == self._started

    def kill(self, number):
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, number=signal.SIGTERM, patience=5.0):
        """Ask it to end, and kill it if it has not within `patience` seconds."""
        self.kill(number)
        with contextlib.suppress(ClusterError):
            wait_until(lambda: not self.alive(), patience, "")
        self.kill(signal.SIGKILL)
        wait_until(lambda: not self.alive(), 5, f"process {self.pid} cannot be killed")


class Daemon:
    """A process in the background, with its pid in run/NAME.pid and what it says in log/NAME.out."""

    def __init__(self, folder, name):
        self.name = name
        self._pid_file = folder / "run" / f"{name}.pid"
        self._output = folder / "log" / f"{name}.out"
        self._log = folder / "log" / f"{name}.log"

    @classmethod
    def all_of(cls, folder):
        """Every daemon that was started in a folder, the last one first."""
        files = sorted(folder.glob("run/*.pid"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return [cls(folder, path.stem) for path in files]

    def start(self, *command, env):
        with self._output.open("ab") as output:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            started = subprocess.Popen(list(map(str, command)), env=env, cwd="/", start_new_session=True, **streams)
        self._pid_file.write_text(str(Process(started.pid)))

    def alive(self):
        process = self._process()
        return process is not None and process.alive()

    def stop(self, number=signal.SIGTERM, patience=5.0):
        process = self._process()
        if process is not None:
            process.stop(number, patience)
        self._pid_file.unlink(missing_ok=True)

    def wait_for(self, answers, timeout):
        """Wait until it answers; a daemon that ends instead is reported with its last words."""
        end = time.monotonic() + timeout
        while not answers():
            if not self.alive():
                raise ClusterError(f"{self.name} ended at once: {self.last_words()}")
            if time.monotonic() > end:
                raise ClusterError(f"{self.name} does not answer after {timeout:g} s: {self.last_words()}")
            time.sleep(0.05)

    def last_words(self):
        for path in (self._log, self._output):
            lines = path.read_text(errors="replace").split("\n") if path.exists() else []
            lines = [line.strip() for line in lines if line.strip()]
            telling = [line for line in lines if "fatal" in line] or lines
            if telling:
                return telling[-1]
        return "it has said nothing"

    def _process(self):
        try:
            return Process(*self._pid_file.read_text().split())
        except FileNotFoundError:
            return None


def job_processes(configuration, node=None):
    """Job managers (slurmstepd) and everything below them, of one cluster or of one of its nodes.

    Args:
        configuration: path of the cluster's slurm.conf, by which its processes are known.
        node: name of the node; every node if None.
    """
    parents = _parents()
    found = {pid for pid in parents if _belongs_to_job(pid, configuration, node)}
    while below := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= below
    return [Process(pid) for pid in found]


def kill_job_processes(configuration, node=None):
    """Kill until there are none: a task may have forked while its kin were counted."""

    def none_left():
        left = [process for process in job_processes(configuration, node) if process.alive()]
        for process in left:
            process.kill(signal.SIGKILL)
        return not left

    wait_until(none_left, 10, "processes of jobs cannot be killed")


def _belongs_to_job(pid, configuration, node):
    """A shell that merely has SLURM_CONF set is not part of a job."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # it has ended, or is another user's
        return False
    if f"SLURM_CONF={configuration}".encode() not in words:
        return False
    if node is not None and f"SLURMD_NODENAME={node}".encode() not in words:
        return False
    return name == "slurmstepd" or any(word.startswith(b"SLURM_JOB_ID=") for word in words)


def _parents():
    """Parent of every process."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int(_stat(folder)[1])
    return parents


def _start_moment(pid):
    """The moment of its start in clock ticks, or None for a process that is gone or a zombie."""
    try:
        fields = _stat(Path(f"/proc/{pid}"))
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _stat(folder):
    """Fields of /proc/PID/stat from the third on: the second is a name that may hold spaces."""
    return (folder / "stat").read_text().rpartition(")")[2].split()
