"""A real Slurm cluster on one machine, for tests and to try things by hand: two nodes with made-up GPUs.

    python tests/slurm/cluster.py start [--folder D] [--accounting] [--elsewhere] [--grace-time S]
    python tests/slurm/cluster.py status [--folder D]
    python tests/slurm/cluster.py stop [--folder D]

`start` prints the line that makes sbatch, squeue and this program talk to it: `export SLURM_CONF=D/slurm.conf`.

The daemons are Debian's (apt-get install --no-install-recommends slurm-wlm munge; for accounting slurmdbd
mariadb-server too). Everything lies in the folder D: configuration, state, logs, GPUs (empty files), a munged with a
key of its own. System-wide services are neither used nor touched, and several clusters live side by side. By default:

- node gpu-a100 with 5 GPUs (gres gpu:a100:5) and partition a100; node gpu-a40 with 4 (gpu:a40:4) and partition a40;
- partition devel on gpu-a40, which preempts a40: TERM, the grace time, KILL, requeue;
- `--elsewhere`: another site, untyped GPUs, partitions gpu-long and gpu-short, with other limits.

As root, jobs run as whoever submits them; as an ordinary user, all jobs are that user's.
"""

import argparse
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":  # started by its path, it sees only what lies beside it
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.slurm import accounting, daemons
from tests.slurm.commands import Commands
from tests.slurm.daemons import ClusterError, Daemon, Process, program, wait_until
from tests.slurm.layout import ELSEWHERE, MISSION, Ports, gres_conf, slurm_conf

PREFIX = "slurm-cluster-"
OURS = ("run", "log", "state", "spool", "dev", "munge", "database", "home")
OWNER = "owner"  # the process that will stop the cluster
TEMPORARY = "temporary"  # the folder goes when the cluster stops
STARTUP_S = 60


class Cluster(Commands):
    """One cluster in a folder. `with Cluster() as cluster:` starts it, waits until its nodes are idle, and stops it.

    Args:
        folder: where everything lies; a temporary one, removed at the stop, if None.
        layout: nodes and partitions.
        accounting: whether sacct answers (some seconds more at the start).
    """

    def __init__(self, folder=None, layout=MISSION, accounting=False):
        # Not the test's own folder: ordinary users cannot look into that, and paths of sockets must be short.
        temporary = Path(tempfile.gettempdir(), PREFIX + secrets.token_hex(4))
        self.folder = (temporary if folder is None else Path(folder)).resolve()
        self._temporary = folder is None or (self.folder / TEMPORARY).exists()
        self.configuration = self.folder / "slurm.conf"
        self.layout = layout
        self.accounting = accounting

    def __enter__(self):
        self.start()
        (self.folder / OWNER).write_text(str(Process(os.getpid())))
        return self

    def __exit__(self, *_):
        self.stop()

    # Starting and stopping

    def start(self, timeout=STARTUP_S):
        for name in ("slurmctld", "slurmd", "sbatch", "munged", *(accounting.PROGRAMS if self.accounting else ())):
            program(name)
        self._prepare_folder()
        try:
            self._start_daemons()
            self.wait_ready(timeout)
        except BaseException:
            self.stop()
            raise

    def _start_daemons(self):
        self._start_munged()
        if self.accounting:
            accounting.start(self)
        self.start_slurmctld()
        for node in self.layout.nodes:
            self.start_slurmd(node.name)

    def stop(self):
        """Leave no process, whatever still runs on the cluster; may be called from another process, and twice."""
        running = Daemon.all_of(self.folder)
        for daemon in running:
            if daemon.name.startswith("slurm") and daemon.name != "slurmdbd":
                daemon.stop(signal.SIGKILL)  # no goodbye to jobs: that would take KillWait
        daemons.kill_job_processes(self.configuration)
        for daemon in running:
            daemon.stop(patience=20)
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def stop_abandoned(cls):
        """Stop the clusters of tests that were killed before they could."""
        for note in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{OWNER}"):
            if not Process(*note.read_text().split()).alive():
                cls(note.parent).stop()

    def wait_ready(self, timeout=STARTUP_S):
        """Wait until every node is idle or at work."""

        def ready():
            states = self.node_states()
            return len(states) == len(self.layout.nodes) and set(states.values()) <= {"idle", "mixed", "allocated"}

        wait_until(
            ready, timeout, lambda: f"after {timeout:g} s the nodes are {self.node_states()}; see {self.folder}/log"
        )

    def start_slurmctld(self):
        daemon = Daemon(self.folder, "slurmctld")
        daemon.start(program("slurmctld"), "-D", env=self.env())
        daemon.wait_for(lambda: self.run("scontrol", "ping", check=False).returncode == 0, STARTUP_S)

    def restart_slurmctld(self):
        """As an administrator would: jobs go on meanwhile, and commands fail."""
        Daemon(self.folder, "slurmctld").stop(patience=30)
        self.start_slurmctld()

    def start_slurmd(self, node):
        # The name in its environment, which its job managers inherit, is how crash_node knows them.
        environment = self.env() | {"SLURMD_NODENAME": node}
        Daemon(self.folder, f"slurmd-{node}").start(program("slurmd"), "-D", "-N", node, env=environment)

    def kill_slurmd(self, node):
        """Kill a node's daemon alone: its jobs go on."""
        Daemon(self.folder, f"slurmd-{node}").stop(signal.SIGKILL)

    def crash_node(self, node):
        """Kill a node's daemon and every process of its jobs, as a power cut would, and have Slurm notice at once.

        Its jobs are requeued, and start again when the node is back. By itself, Slurm would notice after SlurmdTimeout
        or, if the node is back before that, at its next look for lost jobs.
        """
        self.kill_slurmd(node)
        daemons.kill_job_processes(self.configuration, node)
        self.down(node)

    def set_grace_time(self, seconds):
        """Reconfigure the running cluster."""
        self.layout = self.layout.with_grace_time(seconds)
        self._write_slurm_conf()
        self.run("scontrol", "reconfigure")

    # Files

    def _prepare_folder(self):
        if re.search(r"\s", str(self.folder)) or len(str(self.folder)) > 60:
            raise ClusterError(f"{self.folder} is not a short path without spaces, which Slurm's sockets need")
        if any(daemon.alive() for daemon in Daemon.all_of(self.folder)):
            raise ClusterError(f"a cluster runs in {self.folder}; stop it first")
        if self.folder.exists() and any(self.folder.iterdir()) and not self.configuration.exists():
            raise ClusterError(f"{self.folder} is not empty, and what is there is no cluster")
        for name in OURS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(parents=True)
        if self._temporary:
            (self.folder / TEMPORARY).touch()
        self.folder.chmod(0o755)  # for ordinary users
        for node in self.layout.nodes:
            (self.folder / "spool" / node.name).mkdir()
            for number in range(node.gpus):
                (self.folder / "dev" / f"{node.name}-{number}").symlink_to("/dev/null")
        numbers = daemons.free_ports(3 + len(self.layout.nodes))
        names = [node.name for node in self.layout.nodes]
        self.ports = Ports(numbers[0], dict(zip(names, numbers[3:], strict=True)), numbers[1], numbers[2])
        self._write_slurm_conf()
        (self.folder / "gres.conf").write_text(gres_conf(self.layout, self.folder))

    def _write_slurm_conf(self):
        staged = self.configuration.with_suffix(".new")
        staged.write_text(slurm_conf(self.layout, self.folder, self.ports, self.accounting))
        staged.replace(self.configuration)

    def _start_munged(self):
        folder = self.folder / "munge"
        (folder / "key").touch(0o600)
        (folder / "key").write_bytes(secrets.token_bytes(128))
        words = {"socket": "socket", "key-file": "key", "pid-file": "own", "log-file": "log", "seed-file": "seed"}
        daemon = Daemon(self.folder, "munged")
        daemon.start(
            program("munged"),
            "--foreground",
            *(f"--{key}={folder}/{name}" for key, name in words.items()),
            env=self.env(),
        )
        check = ["munge", "-n", "-S", folder / "socket"]
        daemon.wait_for(lambda: self.run(*check, check=False).returncode == 0, 10)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("start", "status", "stop"))
    parser.add_argument("--folder", type=Path, help="default: a new one, or after the start that of SLURM_CONF")
    parser.add_argument("--accounting", action="store_true", help="sacct answers")
    parser.add_argument("--elsewhere", action="store_true", help="another site")
    parser.add_argument("--grace-time", type=int, default=5, metavar="S", help="of preempted jobs (default 5)")
    options = parser.parse_args(words)
    try:
        {"start": _start, "status": _status, "stop": _stop}[options.command](options)
    except (ClusterError, OSError) as error:
        sys.exit(f"error: {error}")


def _start(options):
    layout = (ELSEWHERE if options.elsewhere else MISSION).with_grace_time(options.grace_time)
    cluster = Cluster(options.folder, layout, options.accounting)
    cluster.start()
    print(f"export SLURM_CONF={cluster.configuration}")


def _status(options):
    cluster = Cluster(_known_folder(options))
    for daemon in reversed(Daemon.all_of(cluster.folder)):
        print(f"{daemon.name}: {'runs' if daemon.alive() else 'does not run'}")
    print(cluster.run("sinfo", "-o", "%P %l %N %G %T").stdout + cluster.run("squeue").stdout, end="")


def _stop(options):
    Cluster(_known_folder(options)).stop()


def _known_folder(options):
    if options.folder is None and "SLURM_CONF" not in os.environ:
        raise ClusterError("which cluster? Give --folder, or export SLURM_CONF as `start` printed it")
    folder = options.folder or Path(os.environ["SLURM_CONF"]).parent
    if not (folder / "slurm.conf").exists() or not (folder / "run").is_dir():
        raise ClusterError(f"{folder} is no cluster that was started here")
    return folder


if __name__ == "__main__":
    main()
