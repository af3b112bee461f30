"""A rehearsal: does a run that is killed and resumed on this machine end as one that nobody disturbed?

A few updates of the run's own model, precision, latents and tasks are trained twice: once to the end, and once killed
after a checkpoint in the middle and started again. What both leave on the disk is compared. Everything lies in a folder
of its own, so that nothing of the run is touched; it goes at the end, unless the two differ.
"""

import sys
import time
from pathlib import Path
from types import TracebackType

from vdt_hpc import files
from vdt_hpc.cluster.job import StageJob
from vdt_hpc.cluster.local import StageFailed, Watch, run_local
from vdt_hpc.cluster.local_tasks import LocalTasks, stop_requests
from vdt_hpc.commands.rehearsing import short_run, twins
from vdt_hpc.commands.rehearsing.scratch import scratch
from vdt_hpc.commands.rehearsing.short_run import NUM_UPDATES, NUM_UPDATES_BEFORE_KILL, ShortRun
from vdt_hpc.commands.rehearsing.twins import Trace, Verdict
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import Stopped
from vdt_hpc.store import checkpoint
from vdt_hpc.store.checkpoint import Damaged
from vdt_hpc.store.manifest import require_manifest

SAME, DIFFERENT, STOPPED = 0, 1, 3
ATTEMPTS = 3
"""Trials to kill a training between its checkpoint in the middle and its end: a tiny one may be faster."""
SECONDS_BETWEEN_LOOKS = 0.2


def rehearse(config: RunConfig, partition: Partition, paths: RunPaths) -> int:
    """Rehearse a kill and a resume of a run on this machine, and print what came out.

    Args:
        config, partition: what and where; a Slurm partition stands for its tasks of one node, which this process must
            be on.
        paths: of the run.

    Returns:
        0: the resumed training is the undisturbed one; 1: it is not, or it crashed, and the files are kept; 3: stopped
        by a signal.

    Raises:
        UserError: there are no latents, no space, or a Slurm partition's node is asked for from elsewhere.
    """
    started_s = time.monotonic()
    short = short_run.shorten(config, short_run.on_this_node(partition))
    require_manifest(config, paths)
    short_run.require_space(config, paths.root)
    tasks = f"{short.partition.world_size} task{'s' if short.partition.world_size > 1 else ''}"
    print(
        f"rehearsal of {config.name} with {tasks} of {partition.name}: {NUM_UPDATES} updates of {short.step_clips} "
        f"clips, undisturbed; then killed after update {NUM_UPDATES_BEFORE_KILL} and resumed", flush=True,
    )  # fmt: skip
    with stop_requests() as stops, scratch(paths.rehearsals, partition.name) as place:
        # Under the names that they have below the run's root, and where they are.
        latents = paths_for(config, short.rooted(place.path)).latents
        with files.explained(latents):
            latents.parent.mkdir()
            latents.symlink_to(paths.latents, target_is_directory=True)
        stay = f"its files stay in {place.path} until the next rehearsal"
        try:
            verdict = _compare(short, place.path, stops)
        except Stopped:
            print("the rehearsal was stopped before its end; nothing of it is left", file=sys.stderr)
            return STOPPED
        except (StageFailed, Damaged) as failure:
            place.kept = True
            print(f"error: the rehearsal failed: {failure} ({stay})", file=sys.stderr)
            return DIFFERENT
        if not verdict.is_same:
            place.kept = True
            print(
                f"error: a resume on this machine is not the undisturbed training: {verdict.message}; {stay}",
                file=sys.stderr,
            )
            return DIFFERENT
    print(f"{verdict.message}; {time.monotonic() - started_s:.0f} s")
    return SAME


def _compare(short: ShortRun, root: Path, stops: list[int]) -> Verdict:
    """Train twice and compare; prints the losses side by side."""
    with _Updates() as updates:
        training = _Training(short, root, "undisturbed", updates, stops)
        training.to_the_end()
        undisturbed = training.trace()
        updates.begin_second()
        resumed = _killed_and_resumed(short, root, updates, stops)
    print("\n".join(twins.table(undisturbed, resumed, short.middle_clips)), flush=True)
    return twins.judge(undisturbed, resumed, short.middle_clips, bitwise=not short.partition.gpus_per_node)


def _killed_and_resumed(short: ShortRun, root: Path, updates: "_Updates", stops: list[int]) -> Trace:
    """The second training, killed in the middle.

    Raises:
        StageFailed: it ended each time before it could be killed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        training = _Training(short, root, f"resumed-{attempt}", updates, stops)
        if training.until_killed():
            training.to_the_end()
            return training.trace()
    raise StageFailed(f"training ended {ATTEMPTS} times before it could be killed; run the rehearsal again")


class _Training:
    """One of the two trainings: a run of its own.

    Args:
        short: what and where.
        root: the rehearsal's folder.
        name: of the run.
        updates: shows how far it is.
        stops: signals that ask for an end, also later ones.
    """

    def __init__(self, short: ShortRun, root: Path, name: str, updates: "_Updates", stops: list[int]) -> None:
        self._short, self._updates, self._stops = short, updates, stops
        self._config, self._partition = short.named(name), short.rooted(root)
        self._paths = paths_for(self._config, self._partition)
        self._is_killed = False

    def to_the_end(self) -> None:
        """Train to the end, from the newest checkpoint if there is one."""
        self._run(self._look)

    def until_killed(self) -> bool:
        """Train until the checkpoint in the middle is there and kill all tasks; False if training was faster."""
        try:
            self._run(self._kill_after_middle)
        except (StageFailed, UserError):  # of two tasks, the one that is killed last may see the other go
            if not self._is_killed:
                raise
        return self._is_killed and not self._checkpoint(self._short.total_clips).exists()

    def trace(self) -> Trace:
        """What it has left."""
        return Trace.read(self._paths, self._short.total_clips)

    def _run(self, watch: Watch) -> None:
        if self._stops:
            raise Stopped
        job = StageJob.of("train", self._config, self._partition)
        outcome = run_local(job, self._partition, self._paths.jobs, self._stops, watch)
        if outcome.status == "stopped":
            raise Stopped

    def _look(self, tasks: LocalTasks) -> None:
        self._updates.show(self._paths.progress_log)

    def _kill_after_middle(self, tasks: LocalTasks) -> None:
        if not self._is_killed and self._checkpoint(self._short.middle_clips).exists():
            tasks.kill()
            self._is_killed = True
        self._look(tasks)

    def _checkpoint(self, clips: int) -> Path:
        return self._paths.checkpoints / checkpoint.folder_name(clips)


class _Updates:
    """Shows on a terminal how many updates of both trainings are done; elsewhere it is silent."""

    def __init__(self) -> None:
        self._progress = Progress("rehearse", 2 * NUM_UPDATES, "updates") if sys.stdout.isatty() else None
        self._before = self._shown = 0
        self._next_look_s = 0.0

    def __enter__(self) -> "_Updates":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._advance_to(2 * NUM_UPDATES if kind is None else self._shown)
            self._progress.__exit__(kind, error, trace)

    def begin_second(self) -> None:
        """The first training is over."""
        self._before = NUM_UPDATES
        self._advance_to(NUM_UPDATES)

    def show(self, log: Path) -> None:
        """Look now and then at how far a training log is."""
        if self._progress and time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + SECONDS_BETWEEN_LOOKS
            self._advance_to(self._before + sum(line["kind"] == "train" for line in files.read_json_lines(log)[0]))

    def _advance_to(self, updates: int) -> None:
        if self._progress and updates > self._shown:  # what was lost by the kill is trained again
            self._progress.advance(updates - self._shown)
            self._shown = updates
