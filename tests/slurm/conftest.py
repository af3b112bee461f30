"""Real Slurm clusters for tests: one per kind and test run; a test leaves no jobs on them, and nodes in service."""

import os

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.daemons import ClusterError, program
from tests.slurm.layout import ELSEWHERE, MISSION


def started(*programs, **options):
    """Start a cluster, or skip where its programs are missing (or fail, if REQUIRE_SLURM is set)."""
    try:
        for name in ("slurmctld", "slurmd", "sbatch", "munged", *programs):
            program(name)
    except ClusterError as missing:
        if "REQUIRE_SLURM" in os.environ:
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    Cluster.stop_abandoned()
    with Cluster(**options) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def session_cluster():
    yield from started(layout=MISSION)


@pytest.fixture(scope="session")
def session_second_cluster():
    yield from started(layout=ELSEWHERE)


@pytest.fixture(scope="session")
def session_accounting_cluster():
    yield from started("slurmdbd", "mariadbd", layout=MISSION, accounting=True)


@pytest.fixture
def cluster(session_cluster):
    """Nodes gpu-a100 and gpu-a40, partitions a100 and a40, and devel, which preempts a40. No accounting."""
    yield session_cluster
    session_cluster.cancel_all()


@pytest.fixture
def second_cluster(session_second_cluster):
    """Another site, beside the first: gpu-long and gpu-short with untyped GPUs."""
    yield session_second_cluster
    session_second_cluster.cancel_all()


@pytest.fixture
def accounting_cluster(session_accounting_cluster):
    """As `cluster`, and sacct answers."""
    yield session_accounting_cluster
    session_accounting_cluster.cancel_all()
