"""Who owns a lease: a process, described well enough for others to find out that it is gone."""

import dataclasses
import datetime
import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc.files import Json
from vdt_hpc.lease import squeue
from vdt_hpc.processes import state_and_start


@dataclass(frozen=True)
class Owner:
    """One process, on one boot of one machine, perhaps in one incarnation of a Slurm job."""

    host: str
    """Name of the machine."""
    boot_id: str
    """The kernel's random name for this boot; empty where unknown."""
    pid_namespace: str
    """The process table that `pid` is a row of; empty where unknown."""
    pid: int
    pid_start: int
    """When the process started, in clock ticks since boot: tells it from a later one with the same number."""
    uid: int
    """The user."""
    cluster: str
    """Name of the Slurm cluster; empty outside a job."""
    job_id: str
    """Number of the Slurm job; empty outside a job."""
    restart_count: int
    """How often Slurm has requeued the job."""
    partition: str
    """Name of the partition file; for messages."""
    since: str
    """When this description was made, ISO 8601 in UTC; for messages."""
    token: str
    """32 random hex digits."""

    @classmethod
    def this_process(cls, partition: str) -> "Owner":
        """The process that asks."""
        return cls(
            host=socket.gethostname(),
            boot_id=_boot_id(),
            pid_namespace=_pid_namespace(),
            pid=os.getpid(),
            pid_start=(state_and_start(os.getpid()) or ("", 0))[1],
            uid=os.getuid(),
            cluster=os.environ.get("SLURM_CLUSTER_NAME", ""),
            job_id=os.environ.get("SLURM_JOB_ID", ""),
            restart_count=_restart_count(),
            partition=partition,
            since=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            token=uuid.uuid4().hex,
        )

    @classmethod
    def from_json(cls, content: Json) -> "Owner":
        """The owner that `to_json` described; `UNKNOWN` when a field is missing or of another type."""
        values = {field.name: content.get(field.name) for field in dataclasses.fields(cls)}
        if any(type(values[field.name]) is not field.type for field in dataclasses.fields(cls)):
            return UNKNOWN
        return cls(**values)  # type: ignore[arg-type]

    def to_json(self) -> Json:
        """The fields by name."""
        return dataclasses.asdict(self)

    def is_gone(self) -> bool | None:
        """True when the process surely runs no longer, None when it may or cannot be asked about.

        Reads the process table, or asks Slurm's queue, which may take `slurm.ANSWER_TIMEOUT_S` seconds.
        """
        if self.uid != os.getuid():
            return None  # both the process table and the queue may be set up to hide what other users run
        if self._shares_process_table():
            found = state_and_start(self.pid)
            # A stopped process is alive and silent; whether that is too long is for the heartbeat to say.
            return True if found is None or found[0] in "ZX" or found[1] != self.pid_start else None
        if not self.job_id or not self.cluster or self.cluster != os.environ.get("SLURM_CLUSTER_NAME"):
            return None
        if self.job_id == os.environ.get("SLURM_JOB_ID") and self.restart_count < _restart_count():
            return True
        return squeue.job_is_over(self.job_id)

    def describe(self) -> str:
        """A few words for messages: `job 12 on a100 (node gpu1)`, `process 123 on this machine`."""
        if self == UNKNOWN:
            return "an unknown process (its lease file is damaged)"
        if self.job_id:
            # On another cluster the number means another job.
            is_from_here = self.cluster == os.environ.get("SLURM_CLUSTER_NAME", self.cluster)
            cluster = "" if is_from_here else f" of cluster {self.cluster}"
            return f"job {self.job_id} on {self.partition} (node {self.host}{cluster})"
        here = self.host == socket.gethostname() and self.boot_id == _boot_id()
        return f"process {self.pid} " + ("on this machine" if here else f"of host {self.host}")

    def _shares_process_table(self) -> bool:
        """Whether `pid` can be looked up from here. The name of a namespace means something within one boot only."""
        place = (self.host, self.boot_id, self.pid_namespace)
        return all(place) and place == (socket.gethostname(), _boot_id(), _pid_namespace())


UNKNOWN = Owner("", "", "", 0, 0, -1, "", "", 0, "", "", "")
"""The owner in a damaged file: nothing is known about it, so that only its heartbeat counts."""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _restart_count() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)
