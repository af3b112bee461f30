"""What a job's script runs after its tasks have ended: `python -m vdt_hpc.cluster.after FOLDER STATUS`.

It judges how they ended, writes that beside the logs, and gives the job back to the queue where there is more to do. It
stands outside the tasks, so that it also speaks for those that were killed.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vdt_hpc import slurm
from vdt_hpc.cluster import notes, queue, restarts, submission, submissions
from vdt_hpc.cluster.job import Outcome, StageJob
from vdt_hpc.cluster.queue import NoAnswer
from vdt_hpc.errors import UserError

DONE, CRASHED, USER_ERROR = 0, 1, 2


def main(arguments: Sequence[str]) -> int:
    """Judge a job's end and act on it; returns the exit status of the whole job.

    Args:
        arguments: folder of the job's logs, and exit status of srun.
    """
    try:
        return _main(Path(arguments[0]), int(arguments[1]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return USER_ERROR


def _main(folder: Path, status: int) -> int:
    job = slurm.own_job()
    outcomes = [Outcome.read(folder, job, rank) for rank in range(int(os.environ["SLURM_NTASKS"]))]
    verdict, why = judge(outcomes, status)
    stage = StageJob.submitted(folder, job)
    cluster = queue.own_cluster()
    not_wanted = submissions.ends(stage.paths, cluster).get(job) if verdict is None else None
    restart = slurm.own_restart()
    outside = not_wanted or (notes.told_by_slurm(folder, job, restart) if verdict is None else "")
    notes.note_end(folder, job, restart, outside or why, outside=bool(outside))
    if verdict is not None:
        return verdict
    if not_wanted:
        print(f"not handed back to the queue: {not_wanted}; {why}", flush=True)
        queue.cancel([job])  # neither well nor badly ended: what waits for it waits for the job that goes on, if any
        return CRASHED
    return _go_on(folder, job, stage, cluster, why)


def judge(outcomes: Sequence[Outcome | None], status: int) -> tuple[int | None, str]:
    """The job's exit status, or None where it has more to do; and why it ended, in one line.

    What a user must mend is not tried again. A crash is: when one task is killed, the others crash for want of it, and
    nobody can tell that from a fault of their own; the cap on restarts ends it if it was one.
    """
    for outcome in outcomes:
        if outcome and outcome.status == "error":
            return USER_ERROR, outcome.message
    if all(outcome and outcome.status in ("complete", "incomplete") for outcome in outcomes):
        faults = [outcome.message for outcome in outcomes if outcome and outcome.status == "incomplete"]
        return (USER_ERROR, faults[0]) if faults else (DONE, "complete")
    stopped = next((outcome for outcome in outcomes if outcome and outcome.status == "stopped"), None)
    if stopped and all(outcomes):
        return None, stopped.message
    crashed = [
        f"task {rank} crashed: {each.message}"
        for rank, each in enumerate(outcomes)
        if each and each.status == "crashed"
    ]
    if crashed and all(outcomes):
        return None, crashed[0]
    killed = ", ".join(str(rank) for rank, outcome in enumerate(outcomes) if outcome is None)
    signal = f" by signal {status - 128}" if status > 128 else ""
    return None, f"task {killed} killed{signal} (srun ended with status {status})"


def _go_on(folder: Path, job: str, stage: StageJob, cluster: str, why: str) -> int:
    """Give the job back to the queue or, where Slurm refuses that, submit it afresh."""
    try:
        own = queue.jobs([job]).get(job)
    except NoAnswer as silence:
        print(f"whether somebody has cancelled this job is not known: {silence}", file=sys.stderr, flush=True)
        own = None  # what is left to do is not given up for that
    # COMPLETING: somebody cancelled it, or Slurm requeues it by itself; a requeue would bring a cancelled job to life.
    if own and own.state != "RUNNING" and own.reason != "TimeLimit":
        print(f"not handed back to the queue: Slurm says {own.state}; {why}", flush=True)
        return CRASHED
    limit = stage.place.max_idle_restarts
    if restarts.count_idle(folder / f"{stage.command}-{stage.array_index}_restarts.json", stage.paths) > limit:
        raise UserError(
            f"{limit} restart(s) in a row have finished nothing new, so there is no other; the last one ended because: "
            f"{why}; see the logs in {folder}, then run the same command again to go on"
        )
    _send_rivals(job, stage, cluster)
    refusal = queue.requeue(job)
    if not refusal:
        return DONE
    try:
        sent = submission.submit([stage], cluster, continues=job)
    except UserError as error:
        raise UserError(
            f"Slurm did not requeue the job ({refusal}), and a new one could not be sent ({error}); run the same "
            "command again to go on"
        ) from None
    print(f"Slurm did not requeue the job ({refusal}); job {sent.job} goes on", flush=True)
    _complain(submission.let_wait_for(stage.paths, job, sent))
    queue.cancel([job])  # neither well nor badly ended: what waits for it waits for the new one
    return CRASHED


def _send_rivals(job: str, stage: StageJob, cluster: str) -> None:
    """The stage may go on on any of its partitions again: send a job to each where none of it is in the queue."""
    if not stage.rivals:
        return
    sent = submissions.read(stage.paths, cluster, stage.stage)
    try:
        live = queue.patiently(lambda: queue.jobs(each.job for each in sent))
    except NoAnswer as silence:
        _complain([f"nothing was sent to the other partitions: {silence}"])
        return
    taken = {each.partition for each in sent if each.job in live}
    for place in stage.rivals:
        rival = stage.as_rival(place)
        if rival.place.name in taken:
            continue
        try:
            other = submission.submit([rival], cluster, continues=job)
        except UserError as error:
            print(f"nothing was sent to {rival.place.name}: {error}", file=sys.stderr, flush=True)
            continue
        print(f"sent to {rival.place.name} too, as job {other.job}: the first to start goes on", flush=True)
        _complain(submission.let_wait_for(stage.paths, job, other))


def _complain(complaints: Sequence[str]) -> None:
    for complaint in complaints:
        print(complaint, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
