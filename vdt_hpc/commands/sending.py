"""Send stages of a run to the queue, beside what is there already: what `launch` does on a Slurm partition.

A job that waits on a partition which is named again keeps its place in the queue. One that waits elsewhere is
cancelled; one that runs elsewhere goes on until the new one starts, and then saves and hands the run over. `--replace`
ends all of them now. Whatever waits for a job also waits for those that were sent in its place, or as its rivals. One
that keeps its place waits for the stage before it like one that is sent.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from vdt_hpc import slurm
from vdt_hpc.cluster import dependency, ending, queue, submission, submissions
from vdt_hpc.cluster.job import StageJob
from vdt_hpc.cluster.queue import QueuedJob
from vdt_hpc.cluster.submissions import Submission
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import stages
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.section import differences


@dataclass
class _Stage:
    """One stage: what is to run, and what of it is in the queue."""

    name: str
    rivals: list[StageJob]
    """What is to run, one per partition that is named."""
    kept: dict[str, Submission]
    """Number -> jobs in the queue that do."""
    others: dict[str, Submission]
    """Number -> jobs in the queue whose work is to be done elsewhere, or anew."""
    tasks: dict[str, list[QueuedJob]]
    """Number -> what squeue says of a job, or of each task of an array."""
    joining: dict[str, str]
    """Number -> the stage before it, of the kept jobs that have not waited for that one yet."""

    def runs(self, job: str) -> bool:
        """Whether any task of a job in the queue runs."""
        return any(not task.waits for task in self.tasks[job])

    def wanted(self) -> list[StageJob]:
        """What is not in the queue yet; nothing where one of the rivals runs already."""
        if any(map(self.runs, self.kept)):
            return []
        taken = {job.partition for job in self.kept.values()}
        return [rival for rival in self.rivals if rival.place.name not in taken]


def whereabouts(names: Sequence[str], partitions: Sequence[Partition], paths: RunPaths) -> list[Partition]:
    """Those of some partitions in whose queue jobs of the stages are, and are to stay.

    Raises:
        NoAnswer: Slurm does not tell.
    """
    cluster = queue.cluster_name()
    sent = [job for job in submissions.read(paths, cluster) if job.stage in names]
    live = queue.jobs(task for job in sent for task in job.tasks).keys() - submissions.ends(paths, cluster).keys()
    found = {job.partition for job in sent if live.intersection(job.tasks)}
    return [partition for partition in partitions if partition.name in found]


class Sender:
    """Sends stages of a run, and prints a line for each job.

    Args:
        config, paths: of which run.
        partitions: where; of several, the first that starts a job wins.
        cluster: name of the Slurm cluster that they belong to.
        array_size: jobs among which a stage's work is shared, where it can be.
        anew: end what is in the queue already instead of keeping it.
    """

    def __init__(
        self,
        config: RunConfig,
        partitions: Sequence[Partition],
        paths: RunPaths,
        cluster: str,
        array_size: int,
        anew: bool,
    ) -> None:
        self._config, self._partitions, self._paths = config, partitions, paths
        self._cluster, self._array_size, self._anew = cluster, array_size, anew
        self._command = submissions.new_command()

    def send(self, names: Sequence[str]) -> None:
        """Send stages as jobs, each of which waits for the one before.

        Raises:
            UserError: what is in the queue is not known, has other settings or cannot wait for what is named before it
                (nothing is sent then), sbatch is missing or refuses a job, or a folder cannot be written.
        """
        wait_for = ""
        for stage in self._look_at(names):
            sent = self._send(stage, wait_for)
            self._tell(stage, sent, wait_for)
            self._make_room(stage, sent)
            wait_for = dependency.any_of(job.job for job in [*stage.kept.values(), *sent])

    def foresee(self, names: Sequence[str]) -> list[str]:
        """What would become of the jobs of some stages that are in the queue, a line for each.

        Raises:
            UserError: as for `send`.
        """
        lines = []
        for stage in self._look_at(names):
            for number in stage.kept:
                waits = f" waits for {stage.joining[number]}," if number in stage.joining else ""
                fate = f"stays,{waits} and nothing new would be sent to its partition"
                lines.append(f"{self._describe(stage, number)}: {fate}")
            for number in stage.others:
                if not stage.runs(number):
                    fate = "would be cancelled"
                elif self._anew:
                    fate = "would be asked to save and end"
                else:
                    fate = "would go on until the new one starts, and hand the run over"
                lines.append(f"{self._describe(stage, number)}: {fate}")
        return lines

    def _describe(self, stage: _Stage, number: str) -> str:
        job = {**stage.kept, **stage.others}[number]
        states = ", ".join(dict.fromkeys(task.state for task in stage.tasks[number]))
        return f"job {number}, {stage.name} on {job.partition} ({states})"

    def _look_at(self, names: Sequence[str]) -> list[_Stage]:
        """See what of some stages is in the queue, and what of that is to wait for the stage before it from now on."""
        looked = [self._look(name) for name in names]
        known = {job.job: job for job in submissions.read(self._paths, self._cluster)}
        ahead: set[str] = set()
        for before, stage in pairwise(looked):
            ahead |= before.kept.keys()
            for number, job in stage.kept.items():
                if number not in before.kept and not _follows(job, before.name, known):
                    self._require_free(stage, number, before.name, ahead)
                    stage.joining[number] = before.name
        return looked

    def _require_free(self, stage: _Stage, number: str, before: str, ahead: Collection[str]) -> None:
        """A job that runs can wait for nothing. One that waits for others than those `ahead`, for which the new one
        before it waits too, would be torn from them: Slurm cannot add to what a job waits for without telling all.
        """
        if stage.runs(number) or self._waits_for(stage.kept[number]) - set(ahead):
            raise UserError(
                f"{self._describe(stage, number)} is in the queue and does not wait for {before}, which you name "
                f"before it; add --replace to end it and send it anew after {before}, or leave {before} out"
            )

    def _waits_for(self, job: Submission) -> set[str]:
        """Numbers of the jobs that a job waits for and that are in the queue."""
        return {task.partition("_")[0] for task in queue.jobs(dependency.jobs_in(job.dependency))}

    def _look(self, name: str) -> _Stage:
        """See what of a stage is in the queue."""
        rivals = StageJob.everywhere(name, self._config, self._partitions, self._paths, self._command)
        stage = _Stage(name, rivals, {}, {}, {}, {})
        sent = {job.job: job for job in submissions.read(self._paths, self._cluster, name)}
        ended = submissions.ends(self._paths, self._cluster)
        for task, found in queue.jobs(task for job in sent.values() for task in job.tasks).items():
            if task not in ended:
                stage.tasks.setdefault(task.partition("_")[0], []).append(found)
        wanted = {rival.place.name: rival for rival in rivals}
        for number, tasks in stage.tasks.items():
            job = sent[number]
            # One that is ending may come back to the queue, or not: nobody can rely on it.
            stays = job.partition in wanted and any(task.state != slurm.ENDING for task in tasks)
            if stays and not self._anew:
                self._require_same(job, wanted[job.partition])
                stage.kept[number] = job
            else:
                stage.others[number] = job
        return stage

    def _require_same(self, job: Submission, wanted: StageJob) -> None:
        folder = self._paths.jobs_of(job.stage, self._cluster)
        known = StageJob.find(folder, job.tasks[0])
        if known is None:
            pickled = StageJob.pickle_path(folder, job.tasks[0])
            raise UserError(f"job {job.job} is in the queue, but {pickled} is gone; add --replace to send it anew")
        differing = differences(known.run_config, wanted.run_config) + differences(known.place, wanted.place)
        if differing:
            raise UserError(
                f"job {job.job}, which is in the queue of {job.partition} for the stage {job.stage}, has other "
                f"settings ({', '.join(differing)}); add --replace to end it and send what you want now"
            )

    def _join(self, stage: _Stage, wait_for: str) -> None:
        """Let kept jobs wait for the stage before."""
        for number in stage.joining:
            complaint = queue.make_depend(number, wait_for)
            if complaint:
                raise UserError(
                    f"{self._describe(stage, number)} cannot be made to wait for {stage.joining[number]}, which is in "
                    f"the queue now ({complaint}); run the same command with --replace"
                )
            submissions.note_dependency(self._paths, number, self._cluster, wait_for)
            stage.kept[number] = replace(stage.kept[number], dependency=wait_for)

    def _send(self, stage: _Stage, wait_for: str) -> list[Submission]:
        self._join(stage, wait_for)
        replaces = [job for job in stage.others if self._anew or stage.runs(job)]
        for number, job in stage.kept.items():
            if replaces and not stage.runs(number):
                submissions.note(self._paths, replace(job, replaces=(*job.replaces, *replaces)))
        size = self._array_size if stages.find(stage.name).as_array else 1
        sent = [
            submission.submit(job.as_array(size), self._cluster, wait_for, replaces=replaces) for job in stage.wanted()
        ]
        for known in [*stage.others, *stage.kept]:
            for job in [*stage.kept.values(), *sent] if known in stage.others else sent:
                for complaint in submission.let_wait_for(self._paths, known, job):
                    print(complaint, file=sys.stderr, flush=True)
        return sent

    def _make_room(self, stage: _Stage, sent: Sequence[Submission]) -> None:
        """End what waits elsewhere for nothing now, and all of it if it is to be done anew."""
        why = "moved to " + " or ".join(f"job {job.job} on {job.partition}" for job in [*stage.kept.values(), *sent])
        tasks = [task for job in stage.others for task in stage.tasks[job] if self._anew or task.waits]
        complaint = ending.end(self._paths, self._cluster, tasks, why)
        if complaint:
            print(complaint, file=sys.stderr, flush=True)
        for task in tasks:
            how = "cancelled" if task.waits else "asked to save and end"
            print(f"job {task.job} on {task.partition} ({task.state}): {how}")

    def _tell(self, stage: _Stage, sent: Sequence[Submission], wait_for: str) -> None:
        what = f"{stage.name} of {self._config.name}"
        waits = f", after job {' or '.join(dependency.jobs_in(wait_for))}" if wait_for else ""
        for number in stage.kept:
            now = waits if number in stage.joining else ""
            print(f"{what} is in the queue already: {self._describe(stage, number)}{now}")
        for job in sent:
            array = f" (an array of {job.array})" if job.array > 1 else ""
            logs = f"{self._paths.jobs_of(stage.name, self._cluster)}/{job.job}_*"
            print(f"submitted {what} to {job.partition} as job {job.job}{array}{waits}; logs: {logs}")
        running = [job for job in stage.others if stage.runs(job) and not self._anew]
        if running:
            print(f"job {', '.join(running)} goes on until then, and hands the run over")
        if len(sent) + len(stage.kept) > 1:
            print("the first of them to start goes on, the others leave the queue")


def _follows(job: Submission, stage: str, known: Mapping[str, Submission]) -> bool:
    """Whether a job has waited for one of a stage, or does: itself, or what it waits for, goes on for or replaces."""
    seen, ahead = {job.job}, [job]
    while ahead:
        each = ahead.pop()
        before = (*dependency.jobs_in(each.dependency), each.continues, *each.replaces)
        numbers = {parent.partition("_")[0] for parent in before}
        parents = [known[number] for number in numbers - seen if number in known]
        if any(parent.stage == stage for parent in parents):
            return True
        seen |= numbers
        ahead += parents
    return False
