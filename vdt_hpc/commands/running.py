"""Run stages on this machine, one after the other: what `launch` does where there is no queue."""

import sys
from collections.abc import Sequence

from vdt_hpc.cluster.job import StageJob
from vdt_hpc.cluster.local import StageFailed, run_local
from vdt_hpc.cluster.local_tasks import stop_requests
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths

DONE, CRASHED, STOPPED = 0, 1, 3


def run(names: Sequence[str], config: RunConfig, partition: Partition, paths: RunPaths) -> int:
    """Run stages and show their progress; returns the exit status of the command.

    Ctrl-C (or TERM, USR2, or a terminal that goes away) asks the tasks to save and end, a second one kills them.

    Raises:
        UserError: a stage ended with a user's mistake.
    """
    with stop_requests() as stops:
        for number, name in enumerate(names, 1):
            if stops:
                return _stopped(f"stopped before stage {name}")
            print(f"[{number}/{len(names)}] {name}", flush=True)
            try:
                outcome = run_local(StageJob.of(name, config, partition), partition, paths.jobs, stops)
            except StageFailed as error:
                print(f"error: {error}", file=sys.stderr)
                return CRASHED
            print(f"      {outcome.message}", flush=True)
            for label, path in outcome.outputs.items():
                print(f"      {label}: {path}", flush=True)
            if outcome.status == "stopped":
                return _stopped(f"stage {name} stopped before its end")
    return DONE


def _stopped(where: str) -> int:
    print(f"{where}; run the same command again to go on", file=sys.stderr)
    return STOPPED
