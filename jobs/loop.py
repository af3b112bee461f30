"""The training loop: examples in, agreed updates, log lines, validation, checkpoints, and a clean end."""

import contextlib
import time
from collections.abc import Iterator

from jobs import beginning, examples, resume, schedule
from jobs.agreement import Signs, agree
from jobs.ahead import Ahead
from jobs.holding import RunLease
from jobs.measuring import Measuring
from jobs.opening import open_moments
from jobs.progress_log import ProgressLog, furthest_position
from jobs.saver import Saver
from jobs.strips import Strips, take_back
from jobs.trainer import Trainer
from jobs.validation import Validation
from jobs.window import Window
from vdt_hpc.dist import ProcessGroup, seconds_left
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import BatchPlan, Partition
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.provenance import code_commit
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.lease.lease import LeaseLost
from vdt_hpc.model import ema, execution
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import StopFlag
from vdt_hpc.store import checkpoint
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.ledger import COMPLETE, Ledger

TIME_LIMIT = "the time limit"
SIGNAL_EARLY_S = 75.0
"""How much earlier than it was asked to Slurm may send its signal before the time limit."""
Update = list[examples.Batch]
"""One rank's micro-batches of one update."""


class TrainingLoop:
    """One process's part in training a run.

    Args:
        config, partition, plan, paths: what, where and how.
        group: the ranks.
        stop: set by a signal on any rank.
        lease: the run's lease, which this job holds.

    Raises:
        UserError: latents, checkpoints or initial weights that cannot be used.
        Stopped: a signal came while latents were read; nothing is lost.
    """

    def __init__(
        self, config: RunConfig, partition: Partition, plan: BatchPlan, paths: RunPaths, group: ProcessGroup,
        stop: StopFlag, lease: RunLease,
    ) -> None:  # fmt: skip
        self._config, self._partition, self._plan, self._paths = config, partition, plan, paths
        self._group, self._stop, self._lease = group, stop, lease
        self._main = group.task.rank == 0
        latents = LatentSet.open(config, paths)
        self._fingerprint = latents.manifest.fingerprint
        memory_gb = partition.latents_memory_gb
        moments = open_moments(latents, "train", group, memory_gb, stop.__bool__)
        self._share = examples.Share(config, plan, group.task.rank, moments)
        val_moments = open_moments(latents, "val", group, memory_gb, stop.__bool__, config.train.num_val_clips)
        self._trainer = Trainer(config, plan, group)
        execution.set_up(self._trainer.model, partition)
        validation = Validation(config, val_moments, group, self._trainer, stop.__bool__)
        self._commit = code_commit() if self._main else ""
        self._beginning: beginning.Beginning | None = None
        self._clips_seen = self._resume()
        strips = Strips(config, latents, group.device, paths.strips, stop.__bool__) if self._main else None
        self._measuring = Measuring(config, validation, strips, self._trainer, group)
        self._saved_at = self._clips_seen
        self._saver = Saver(paths.checkpoints, self._trainer.state(), group, config.train, lease.token, lease.check)
        self._window = Window(config, partition, group.device)
        self._log: ProgressLog | None = None
        self._ledger: Ledger | None = None
        self._progress: Progress | None = None
        self._published_at = self._clips_seen
        self._fault = ""
        """What ends this rank's training as soon as all ranks know of it: one line for the user."""
        self._num_skipped = self._num_bad_in_row = 0
        self._next_save = time.monotonic() + 60 * config.train.checkpoint_every_min

    def run(self) -> StageResult:
        """Train to the end, or to a clean stop.

        Raises:
            UserError: a save failed, the lease was lost, or too many updates in a row were not finite.
        """
        total, step = self._config.train.total_clips, self._plan.global_clips
        with contextlib.ExitStack() as stack:
            stack.callback(self._saver.close)
            ahead = stack.enter_context(Ahead(self._share.prepare, range(self._clips_seen, total, step)))
            if self._main:
                with self._told_to_all():
                    self._open(stack)
            self._raise_faults()
            return self._train(ahead)

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Open what rank 0 tells the world through, and take back what a rollback made untrue."""
        self._ledger = stack.enter_context(self._lineage())
        log = ProgressLog(self._paths.progress_log, self._paths.tensorboard, self._clips_seen, self._lease.check)
        self._log = stack.enter_context(log)
        take_back(self._paths.strips, self._clips_seen)
        self._log.write(
            "start", self._clips_seen, partition=self._partition.name, world_size=self._group.task.world_size,
            global_clips=self._plan.global_clips, code_commit=self._commit, job=self._group.task.job_id,
        )  # fmt: skip
        if self._beginning:
            self._log.write("init", self._clips_seen, **self._beginning.to_json())
        progress = Progress("train", self._config.train.total_clips, "clips", done=self._clips_seen)
        self._progress = stack.enter_context(progress)

    def _lineage(self) -> Ledger:
        logged = furthest_position(self._paths.progress_log)
        return Ledger(
            self._paths.ledger, self._group.task.job_id, self._partition.name, self._group.task.world_size,
            lambda: (self._clips_seen, self._published_at), logged, self._paths.jobs / "train",
        )  # fmt: skip

    def _train(self, ahead: "Ahead[Update]") -> StageResult:
        train, step = self._config.train, self._plan.global_clips
        stop = self._measure(self._clips_seen - step) if self._clips_seen else None
        while not stop and self._clips_seen < train.total_clips:
            before = self._clips_seen
            signs = self._one_update(ahead)
            self._clips_seen += step
            finished = self._clips_seen >= train.total_clips
            stop = None if finished else self._why_stop(signs)
            self._settle(signs)
            if finished or stop or schedule.crosses(train.log_every_clips, before, self._clips_seen):
                self._log_window(ahead.waited_s)
            if self._progress:
                loss = self._window.last_loss
                units = min(self._clips_seen, train.total_clips) - before
                self._progress.advance(units, "" if loss is None else f"loss {loss:.4f}")
            due = schedule.crosses(train.checkpoint_every_clips, before, self._clips_seen)
            if finished or stop or signs.save_due or due:
                self._save()
            stop = stop or self._measure(before)
        if self._saved_at < self._clips_seen:  # a stop came during validation
            self._save()
        self._finish_saving()
        if self._log and not stop and not self._log.has("end", self._clips_seen):
            with self._told_to_all():
                self._log.write("end", self._clips_seen)
        self._raise_faults()
        return self._result(stop)

    def _one_update(self, ahead: "Ahead[Update]") -> Signs:
        """Compute, agree, apply; returns how many ranks say what."""
        started = time.monotonic()
        tally, norm = self._trainer.gradients(ahead.next())
        self._fault = self._fault or self._trainer.fault
        own = Signs(
            signalled=bool(self._stop),
            time_is_up=self._main and seconds_left(self._partition.timeout_min) < self._partition.save_margin_s,
            save_due=self._main and time.monotonic() >= self._next_save,
            hopeless=bool(self._fault),
            lease_lost=self._lease.lost,
            written=self._saver.written,
            failed=self._saver.failed,
        )
        # One sum over ranks settles everything: whether to apply the update, to stop, to save, and the losses.
        signs, all_finite, tally, agreed_norm = agree(self._group, own, tally, norm)
        if signs.lease_lost:
            if self._ledger:
                self._ledger.why = None
            raise UserError(
                f"another job has taken over the run {self._config.name}; this one leaves at clip "
                f"{self._clips_seen:,} and saves nothing more"
            )
        if signs.hopeless:
            self._finish_saving()
            self._raise_faults()
        clips_after = self._clips_seen + self._plan.global_clips
        if all_finite:
            optim, scale = self._config.optim, self._plan.lr_scale
            lr = schedule.learning_rate(optim, self._config.train.total_clips, clips_after, scale)
            self._trainer.update(lr, ema.decay(optim, clips_after, self._plan.global_clips))
            self._window.add(tally, agreed_norm, lr)
            self._num_bad_in_row = 0
        else:
            self._skip(clips_after)
        self._window.count(self._plan.global_clips, time.monotonic() - started)
        return signs

    @contextlib.contextmanager
    def _told_to_all(self) -> Iterator[None]:
        """Keep a mistake of this rank until the ranks meet: one that left alone would let the others wait."""
        try:
            yield
        except (UserError, LeaseLost) as error:
            if self._ledger and isinstance(error, LeaseLost):
                self._ledger.why = None
            self._fault = self._fault or str(error)

    def _raise_faults(self) -> None:
        """Raise, on every rank, what one of them has to say to the user."""
        for fault in self._group.gather_texts(self._fault):
            if fault:
                raise UserError(fault)

    def _skip(self, clips_after: int) -> None:
        """Count an update that is not applied; too many in a row end the training."""
        self._num_skipped += 1
        self._num_bad_in_row += 1
        if self._main:
            print(f"update to clip {clips_after:,} skipped: its loss or gradient is not finite", flush=True)
        if self._num_bad_in_row < self._config.train.max_bad_updates:
            return
        self._finish_saving()
        found = checkpoint.newest(self._paths.checkpoints, signature(self._config), verify=False)
        raise UserError(
            f"{self._num_bad_in_row} updates in a row, up to clip {clips_after:,}, had a loss or gradient that is not "
            f"finite; the last good checkpoint is {found.path if found else 'none'}; lower optim.lr or clip harder"
        )

    def _why_stop(self, signs: Signs) -> str | None:
        if signs.time_is_up or (signs.signalled and self._slurm_says_time_is_up()):
            return TIME_LIMIT
        return (self._stop.reason or "a signal to another task") if signs.signalled else None

    def _slurm_says_time_is_up(self) -> bool:
        margin_s = self._partition.save_margin_s + SIGNAL_EARLY_S
        return self._stop.reason == "SIGUSR2" and seconds_left(self._partition.timeout_min) < margin_s

    def _resume(self) -> int:
        """Load the checkpoint that rank 0 chooses; returns its clips. Where there is none, begin: returns 0."""
        found = resume.choose(self._config, self._paths, self._group, self._fingerprint)
        if found is None:
            self._beginning = beginning.begin(self._config, self._trainer, self._group)
            return 0
        self._trainer.load({part: found.load(part) for part in checkpoint.PARTS})
        if self._main:
            print(f"resuming from {found.path}", flush=True)
        return found.clips_seen

    def _save(self) -> None:
        """Copy the state; it is written while training goes on."""
        self._next_save = time.monotonic() + 60 * self._config.train.checkpoint_every_min
        if self._saved_at == self._clips_seen:
            return
        provenance = checkpoint.Provenance(
            clips_seen=self._clips_seen, signature=signature(self._config), latents_fingerprint=self._fingerprint,
            code_commit=self._commit, partition=self._partition.name, world_size=self._group.task.world_size,
        )  # fmt: skip
        self._saver.start(provenance)
        self._saved_at = self._clips_seen
        if self._log:
            with self._told_to_all():
                self._log.flush_to_disk()

    def _settle(self, signs: Signs) -> None:
        self._saver.settle(signs.written, signs.failed)
        self._log_saved()

    def _finish_saving(self) -> None:
        self._saver.finish()
        self._log_saved()

    def _log_saved(self) -> None:
        while self._log and self._saver.published:
            saved = self._saver.published.popleft()
            self._published_at = saved.clips_seen
            with self._told_to_all():
                self._log.write("checkpoint", saved.clips_seen, blocked_s=saved.blocked_s, durable_s=saved.durable_s)

    def _measure(self, before: int) -> str | None:
        """Measure what came due since a position; returns why to stop, if a stop came meanwhile."""
        stopped = False
        with self._told_to_all():
            stopped = not self._measuring.measure(before, self._clips_seen, self._log)
        return (self._stop.reason or "a signal to another task") if stopped else None

    def _log_window(self, waited_s: float) -> None:
        if self._log:
            values = self._window.values(waited_s)
            with self._told_to_all():
                self._log.write("train", self._clips_seen, **values, skipped_updates=self._num_skipped)

    def _result(self, stop: str | None) -> StageResult:
        path = self._paths.checkpoints / checkpoint.folder_name(self._clips_seen)
        outputs = {"checkpoint": str(path), "log": str(self._paths.progress_log)}
        total = self._config.train.total_clips
        if self._ledger:
            self._ledger.why = stop or COMPLETE
        if stop:
            return StageResult(
                f"stopped by {stop} at {self._clips_seen:,} of {total:,} clips, saved", complete=False, outputs=outputs
            )
        loss = self._measuring.last_loss
        said = "" if loss is None else f", validation loss {loss:.4f}"
        return StageResult(f"trained {self._clips_seen:,} clips{said}", outputs=outputs)
