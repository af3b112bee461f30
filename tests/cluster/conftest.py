"""A stand-in for Slurm whose queue is a folder, and the launcher in this process before it."""

import os
import re

import pytest

from vdt_hpc import launch
from vdt_hpc.cluster import submissions
from vdt_hpc.commandline import run_paths

CLUSTER = "mission"
SILENT = """#!/bin/bash
echo "{name} $*" >> "{folder}/calls"
left=$(cat "{folder}/silent-{name}" 2> /dev/null || echo 0)
if [ $left -gt 0 ]; then
    echo $((left - 1)) > "{folder}/silent-{name}"
    echo "Unable to contact slurm controller" >&2
    exit 1
fi
"""
SBATCH = """
if [ "$1" = --test-only ]; then
    cat > /dev/null
    echo "sbatch: Job 7 to start at 2026-01-01T00:00:00 using 40 processors on nodes n1" >&2
    exit 0
fi
number=$(( $(cat "{folder}/number") + 1 ))
echo $number > "{folder}/number"
size=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
for task in $(if [ -n "$size" ]; then seq -f "${{number}}_%g" 0 "$size"; else echo $number; fi); do
    echo "PENDING|None" > "{folder}/queue/$task"
done
echo "Submitted batch job $number"
"""
SQUEUE = """
while [ $# -gt 0 ]; do [ "$1" = -j ] && ids=$2; shift; done
cd "{folder}/queue"
for id in ${{ids//,/ }}; do
    for job in $(ls | grep -x "$id\\(_.*\\)\\?"); do echo "$job|n|a100|$(cat $job)|N/A|0:00|"; done
done
if [ -e "{folder}/interrupts" ]; then kill -INT $PPID; sleep 10; fi
[ ! -e "{folder}/last-answer" ] || echo 1000 > "{folder}/silent-squeue"
"""
SCONTROL = """
case "$*" in
    "show config") echo "ClusterName = mission" ;;
    *partition*) for name in a100 a40; do
        echo "PartitionName=$name MaxTime=1-00:00:00 State=UP TotalNodes=1"
    done ;;
    update*) [ ! -e "{folder}/refuses-update" ] || {{ echo "Job is no longer pending execution" >&2; exit 1; }} ;;
esac
"""
SCANCEL = """
case "$1" in --signal*) [ -e "{folder}/stops-when-asked" ] || exit 0; shift ;; esac
for job; do rm -f "{folder}/queue/$job"; done
"""


class Queue:
    """Slurm's commands as scripts; what was asked of them stands in a file, a line for each call."""

    def __init__(self, folder, capsys):
        self.folder, self._capsys = folder, capsys
        self.root = folder / "runs"
        (folder / "queue").mkdir()
        (folder / "bin").mkdir()
        (folder / "number").write_text("100\n")
        scripts = {"sbatch": SBATCH, "squeue": SQUEUE, "scontrol": SCONTROL, "scancel": SCANCEL, "srun": "\nexit 1\n"}
        for name, text in scripts.items():
            path = folder / "bin" / name
            path.write_text(SILENT.format(name=name, folder=folder) + text.format(folder=folder))
            path.chmod(0o755)
        for name in ("a100", "a40"):
            place = f"name: {name}\ncpus_per_task: 1\nsave_margin_s: 1\n"
            (folder / f"{name}.yaml").write_text(place)

    def is_silent(self, name, num_calls=1000):
        """A command gives no answer the next so many times."""
        (self.folder / f"silent-{name}").write_text(f"{num_calls}\n")

    def answers_once_more(self):
        """The next answer of squeue is its last one."""
        (self.folder / "last-answer").touch()

    def stops_when_asked(self):
        """A job that is asked to save and end leaves the queue at once."""
        (self.folder / "stops-when-asked").touch()

    def interrupts(self):
        """Whoever asks squeue from now on hears a Ctrl-C before the answer."""
        (self.folder / "interrupts").touch()

    def refuses_updates(self):
        (self.folder / "refuses-update").touch()

    def becomes(self, job, state, reason="None"):
        """Give a job, or a task of an array, a state; an empty one: it has left the queue."""
        path = self.folder / "queue" / str(job)
        path.write_text(f"{state}|{reason}\n") if state else path.unlink()

    def jobs(self):
        """What is in the queue."""
        return sorted(path.name for path in (self.folder / "queue").iterdir())

    def asked(self, pattern):
        """The calls that match."""
        return [line for line in (self.folder / "calls").read_text().splitlines() if re.match(pattern, line)]

    def launch(self, *words, run="smoke", partition="a100"):
        """What the launcher says to people, on both streams; `run=None`: without a run and a partition."""
        status, said = self._launch(words, run, partition)
        assert status == 0, said
        return said

    def refused(self, *words, run="smoke", partition="a100"):
        """The same, of a launch that ends with a user's mistake: its last line is that."""
        status, said = self._launch(words, run, partition)
        assert (status, said.count("error: ")) == (2, 1), said
        assert said.splitlines()[-1].startswith("error: ")
        return said

    def _launch(self, words, run, partition):
        where = ",".join(str(self.folder / f"{name}.yaml") for name in partition.split(","))
        options = ["--run", run, "--partition", where] if run else []
        status = launch.main([*words, *options, "--root", str(self.root)])
        shown = self._capsys.readouterr()
        return status, shown.out + shown.err

    def sent(self, run="smoke"):
        """Number -> what the launcher has written down of the jobs."""
        return {each.job: each for each in submissions.read(run_paths(self.root / run), CLUSTER)}


@pytest.fixture
def queue(tmp_path, monkeypatch, capsys):
    """An empty queue, in which nothing starts or ends by itself."""
    made = Queue(tmp_path, capsys)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_CLUSTER_NAME", raising=False)
    return made
