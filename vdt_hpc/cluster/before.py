"""What a job's script runs before its tasks start: `python -m vdt_hpc.cluster.before FOLDER`.

It settles, with the queue's help, whose turn it is: a job that nobody wants any more leaves; a job that replaces
another has it save and end; of rivals, which do the same work on different partitions, the first to start goes on. What
two jobs decide at once agrees: the order of starts is the controller's. A run's lease stands behind all this.
"""

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from vdt_hpc import slurm
from vdt_hpc.cluster import ending, notes, queue, submissions
from vdt_hpc.cluster.job import StageJob
from vdt_hpc.cluster.queue import NoAnswer, QueuedJob
from vdt_hpc.cluster.submissions import Submission
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.paths import RunPaths

GO_ON, LEAVE, USER_ERROR = 0, 1, 2
PATIENCE_S = 60.0
"""How long the launcher may take to write down what it has sent, and a job that is ending to leave the queue."""


class NotWanted(Exception):
    """Why this job leaves, in one line."""


def main(arguments: Sequence[str]) -> int:
    """Decide whether this job starts its tasks; returns 0 if it does.

    Args:
        arguments: folder of the job's logs.
    """
    folder, job = Path(arguments[0]), slurm.own_job()
    try:
        notes.note_start(folder, job, slurm.own_restart())
        Turn(folder, job).take()
    except NotWanted as reason:
        print(f"this job leaves: {reason}", flush=True)
        notes.note_end(folder, job, slurm.own_restart(), str(reason), outside=True)
        queue.cancel([job])  # neither well nor badly ended: what waits for it waits for the job that goes on
        return LEAVE
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return USER_ERROR
    return GO_ON


class Turn:
    """One job's turn among those of its run and stage.

    Args:
        folder: of the job's logs.
        job: its id.
    """

    def __init__(self, folder: Path, job: str) -> None:
        # The job may have started before submitit, and then the launcher, could write down what they sent.
        pickled = StageJob.pickle_path(folder, job)
        if not ending.wait_for(pickled.exists, PATIENCE_S):
            raise UserError(f"{pickled} is not there; is the folder shared by all nodes?")
        self._job, self._stage = job, StageJob.submitted(folder, job)
        self._paths: RunPaths = self._stage.paths
        self._cluster = queue.own_cluster()
        if not ending.wait_for(lambda: self._own() is not None, PATIENCE_S):
            print(f"job {job} is not in {self._paths.submissions}: it was not asked whose turn it is", flush=True)

    def take(self) -> None:
        """Return when it is this job's turn.

        Raises:
            NotWanted: it is not.
        """
        own = self._own()
        if own is None:
            return
        why = submissions.ends(self._paths, self._cluster).get(self._job)
        if why:
            raise NotWanted(why)
        self._take_over(submissions.replaced_by(own, self._sent()))
        if own.has_rivals:
            self._race(own)

    def _sent(self) -> list[Submission]:
        return submissions.read(self._paths, self._cluster, self._stage.stage)

    def _own(self) -> Submission | None:
        number = self._job.partition("_")[0]
        return next((each for each in self._sent() if each.job == number), None)

    def _live(self, wanted: Iterable[Submission]) -> dict[str, QueuedJob]:
        """Those of the jobs that squeue knows; none where it gives no answer, and then the lease alone decides."""
        try:
            return queue.jobs(task for each in wanted for task in each.tasks)
        except NoAnswer as silence:
            print(f"whose turn it is, the run's lease decides: {silence}", flush=True)
            return {}

    def _take_over(self, replaced: set[str]) -> None:
        """Have the replaced jobs save and end, and wait for that."""
        live = self._live(each for each in self._sent() if each.job in replaced)
        if live:
            place = self._stage.place
            print(f"taking the run over from job {', '.join(live)}: it saves and ends", flush=True)
            ending.end(self._paths, self._cluster, live.values(), f"moved to job {self._job} on {place.name}")
            ending.see_off(live.keys(), place.save_margin_s, print)

    def _race(self, own: Submission) -> None:
        """Go on as the first of the rivals to start; those that still wait leave the queue.

        Raises:
            NotWanted: another one was first.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            sent = self._sent()
            rivals = [
                each
                for each in sent
                if each.job != own.job and each.has_rivals and own.job not in submissions.replaced_by(each, sent)
            ]
            live = self._live([own, *rivals])
            partitions = {each.job: each.partition for each in rivals}
            leaving = {own.continues, *submissions.ends(self._paths, self._cluster)}
            ahead = [job for job in live.values() if job.job in partitions and job.is_ahead_of(live.get(own.job))]
            if not ahead:
                break
            if time.monotonic() > deadline or any(job.job not in leaving for job in ahead):
                first = ahead[0].job
                raise NotWanted(f"job {first} on {partitions[first]} started first")
            time.sleep(queue.POLL_S)
        waiting = [job for job in live.values() if job.job in partitions and job.waits]
        why = f"job {self._job} on {self._stage.place.name} started first"
        ending.end(self._paths, self._cluster, waiting, why)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
