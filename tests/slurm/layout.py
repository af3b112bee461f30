"""Made-up clusters on one machine, and the text of slurm.conf and its companions for them."""

import getpass
import socket
from dataclasses import dataclass, replace
from pathlib import Path

CPUS = 64  # more than the machine has, so that the partitions of configs/partition/ fit as they are
MEMORY_MB = 512_000


@dataclass(frozen=True)
class Node:
    name: str
    gpus: int
    gpu_type: str = ""
    """Without a type, the site's GPUs are plain `gpu:4`."""

    @property
    def gres(self):
        return ":".join(filter(None, ["gpu", self.gpu_type, str(self.gpus)]))


@dataclass(frozen=True)
class Queue:
    """A partition; on another word than the program's own Partition, which tests import too."""

    name: str
    node: str
    max_time: str
    """As Slurm writes it, D-HH:MM:SS."""
    priority_tier: int = 1
    grace_time: int | None = None
    """Seconds between TERM and KILL for its jobs when a higher tier wants the node; None: they are never preempted."""


@dataclass(frozen=True)
class Layout:
    cluster_name: str
    nodes: tuple[Node, ...]
    queues: tuple[Queue, ...]
    extra: tuple[str, ...] = ()
    """More lines for slurm.conf; of a parameter that is given twice, Slurm takes the last."""

    def with_grace_time(self, seconds):
        """The same with another grace time wherever jobs are preempted."""
        queues = (q if q.grace_time is None else replace(q, grace_time=seconds) for q in self.queues)
        return replace(self, queues=tuple(queues))


MISSION = Layout(
    "mission",
    nodes=(Node("gpu-a100", 5, "a100"), Node("gpu-a40", 4, "a40")),
    queues=(
        Queue("a100", "gpu-a100", "1-00:00:00"),
        Queue("a40", "gpu-a40", "12:00:00", grace_time=5),
        Queue("devel", "gpu-a40", "1:00:00", priority_tier=10),
    ),
)
ELSEWHERE = Layout(
    "elsewhere",
    nodes=(Node("node1", 8), Node("node2", 2)),
    queues=(Queue("gpu-long", "node1", "7-00:00:00"), Queue("gpu-short", "node2", "2:00:00")),
)


@dataclass(frozen=True)
class Ports:
    """One port per daemon, all on 127.0.0.1."""

    slurmctld: int
    slurmd: dict[str, int]
    slurmdbd: int
    database: int


# cred_expire: a requeued job waits as long as a credential lives, 120 s unless told.
# config_overrides: a node may claim more CPUs and memory than the machine has.
# KillWait and MessageTimeout: after TERM to a preempted job, the scheduler looks again after their sum at the earliest,
# so that KILL comes after the grace time or 8 s, whichever is later, and the next look.
# linuxproc and task/none: neither cgroups nor a real node are needed.
SLURM_CONF = """\
ClusterName={cluster_name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports.slurmctld}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.own
SlurmdPidFile={folder}/run/slurmd-%n.own
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=3
MessageTimeout=5
ReturnToService=2
SlurmdTimeout=20
SlurmdParameters=config_overrides
GresTypes=gpu
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports.slurmdbd}
AccountingStoragePass={folder}/munge/socket
"""
SLURMDBD_CONF = """\
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports.slurmdbd}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
PidFile={folder}/run/slurmdbd.own
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports.database}
StorageUser=slurm
StoragePass=made-up
StorageLoc=slurm_accounting
"""


def slurm_conf(layout: Layout, folder: Path, ports: Ports, accounting: bool) -> str:
    values = _values(folder, ports) | {"cluster_name": layout.cluster_name}
    lines = [SLURM_CONF.format(**values).rstrip()]
    if accounting:
        lines.append(ACCOUNTING.format(**values).rstrip())
    for node in layout.nodes:
        lines.append(
            f"NodeName={node.name} NodeHostname={values['host']} NodeAddr=127.0.0.1 Port={ports.slurmd[node.name]} "
            f"Sockets=1 CoresPerSocket={CPUS} ThreadsPerCore=1 RealMemory={MEMORY_MB} Gres={node.gres}"
        )
    lines.extend(_partition_line(queue, default=queue is layout.queues[0]) for queue in layout.queues)
    return "\n".join([*lines, *layout.extra]) + "\n"


def gres_conf(layout: Layout, folder: Path) -> str:
    """One empty file stands for each GPU; a count without files leaves the node invalid."""
    lines = []
    for node in layout.nodes:
        kind = f"Type={node.gpu_type} " if node.gpu_type else ""
        lines.append(f"NodeName={node.name} Name=gpu {kind}File={folder}/dev/{node.name}-[0-{node.gpus - 1}]")
    return "\n".join(lines) + "\n"


def slurmdbd_conf(folder: Path, ports: Ports) -> str:
    return SLURMDBD_CONF.format(**_values(folder, ports))


def _values(folder, ports):
    host = socket.gethostname().split(".")[0]
    return {"folder": folder, "ports": ports, "host": host, "user": getpass.getuser()}


def _partition_line(queue, default):
    words = [f"PartitionName={queue.name} Nodes={queue.node} MaxTime={queue.max_time}"]
    words.append(f"PriorityTier={queue.priority_tier} State=UP Default={'YES' if default else 'NO'}")
    if queue.grace_time is None:
        words.append("PreemptMode=OFF")
    else:
        words.append(f"PreemptMode=REQUEUE GraceTime={queue.grace_time}")
    return " ".join(words)
