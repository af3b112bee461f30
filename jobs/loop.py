"""The training loop: examples in, agreed updates, log lines, validation, checkpoints, and a clean end."""

import time
from collections.abc import Iterator

import torch

from jobs import examples, schedule
from jobs.ahead import Ahead
from jobs.opening import open_moments
from jobs.progress_log import ProgressLog
from jobs.tally import SIZE, Tally
from jobs.trainer import Trainer
from jobs.validation import Validation
from vdt_hpc.dist import ProcessGroup, StopFlag, seconds_left
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import BatchPlan, Partition
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.provenance import code_commit
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.model import ema
from vdt_hpc.progress import Progress
from vdt_hpc.store import checkpoint
from vdt_hpc.store.latents import LatentSet

Update = list[examples.Batch]
"""One rank's micro-batches of one update."""


class TrainingLoop:
    """One process's part in training a run.

    Args:
        config, partition, plan, paths: what, where and how.
        group: the ranks.
        stop: set by a signal on any rank.
    """

    def __init__(
        self, config: RunConfig, partition: Partition, plan: BatchPlan, paths: RunPaths, group: ProcessGroup,
        stop: StopFlag,
    ) -> None:  # fmt: skip
        self._config, self._partition, self._plan, self._paths = config, partition, plan, paths
        self._group, self._stop = group, stop
        self._main = group.task.rank == 0
        latents = LatentSet.open(config, paths)
        self._fingerprint = latents.manifest.fingerprint
        memory_gb = partition.latents_memory_gb
        self._moments = open_moments(latents, "train", group, memory_gb, stop.__bool__)
        validation = open_moments(latents, "val", group, memory_gb, stop.__bool__, config.train.num_val_clips)
        self._validation = Validation(config, validation, group, partition.max_clips_per_gpu)
        self._commit = code_commit() if self._main else ""
        self._trainer = Trainer(config, plan, group)
        self._clips_seen = self._resume()
        self._saved_at = self._clips_seen if self._clips_seen else -1
        self._skipped = 0
        self._last_loss = float("nan")
        self._next_save = time.monotonic() + 60 * config.train.checkpoint_every_min

    def run(self) -> StageResult:
        """Train to the end, or to a clean stop."""
        total = self._config.train.total_clips
        with Ahead(self._updates) as ahead:
            if not self._main:
                return self._train(ahead, None, None)
            log = ProgressLog(self._paths.progress_log, self._paths.tensorboard, self._clips_seen)
            with log, Progress("train", total, "clips", done=self._clips_seen) as progress:
                log.write(
                    "start", self._clips_seen, partition=self._partition.name, world_size=self._group.task.world_size,
                    global_clips=self._plan.global_clips, code_commit=self._commit, job=self._group.task.job_id,
                )  # fmt: skip
                return self._train(ahead, log, progress)

    def _train(self, ahead: "Ahead[Update]", log: ProgressLog | None, progress: Progress | None) -> StageResult:
        train, step = self._config.train, self._plan.global_clips
        window = _Window(self._group.device)
        if self._validation.num_examples == 0 and self._main:
            print("no validation clips: no validation loss is measured", flush=True)
        while self._clips_seen < train.total_clips:
            before = self._clips_seen
            stop, save_due = self._one_update(ahead, window)
            self._clips_seen += step
            finished = self._clips_seen >= train.total_clips
            if log and (finished or schedule.crosses(train.log_every_clips, before, self._clips_seen)):
                self._log_window(log, window, ahead.waited_s)
            if progress:
                units = min(self._clips_seen, train.total_clips) - before
                progress.advance(units, f"loss {window.last_loss:.4f}" if window.last_loss else "")
            if finished or schedule.crosses(train.val_every_clips, before, self._clips_seen):
                self._validate(log)
            if save_due or finished or schedule.crosses(train.checkpoint_every_clips, before, self._clips_seen):
                self._save()
            if stop and not finished:
                return self._result(stop)
        return self._result(None)

    def _one_update(self, ahead: "Ahead[Update]", window: "_Window") -> tuple[str | None, bool]:
        """Compute, agree, apply. Returns why to stop (None: go on) and whether to save; the same on every rank."""
        started = time.monotonic()
        tally, norm = self._trainer.gradients(ahead.next())
        finite = torch.isfinite(tally.sums).all() & torch.isfinite(norm)
        time_is_up = self._main and seconds_left(self._partition.timeout_min) < self._partition.save_margin_s
        save_due = self._main and time.monotonic() >= self._next_save
        wishes = torch.tensor([bool(self._stop), time_is_up, save_due], dtype=torch.float64)
        # One sum over ranks settles everything: whether to apply the update, to stop, to save, and the losses.
        agreed = torch.cat([(~finite).double()[None], wishes.to(self._group.device), tally.sums])
        agreed = self._group.sum(agreed).cpu()
        not_finite, signalled, time_is_up, save_due = (bool(value > 0) for value in agreed[:4])
        clips_after = self._clips_seen + self._plan.global_clips
        lr = schedule.learning_rate(
            self._config.optim, self._config.train.total_clips, clips_after, self._plan.lr_scale
        )
        if not_finite:
            self._skipped += 1
            if self._main:
                print(f"update to clip {clips_after:,} skipped: its loss or gradient is not finite", flush=True)
        else:
            self._trainer.update(lr, ema.decay(self._config.optim, clips_after, self._plan.global_clips))
            window.add(Tally(agreed[4:]), float(norm), lr)
        window.count(self._plan.global_clips, time.monotonic() - started)
        stop = (self._stop.reason or "a signal") if signalled else "the time limit" if time_is_up else None
        return stop, save_due or stop is not None

    def _updates(self) -> Iterator[Update]:
        """This rank's share of every update, in order, from the resumed position (runs in the background)."""
        share, sizes = self._plan.share(self._group.task.rank), self._plan.micro_batches[self._group.task.rank]
        moments = self._moments
        drawer = examples.Drawer(self._config, len(moments), moments.num_flips, moments.clip_frames)
        for first in range(self._clips_seen, self._config.train.total_clips, self._plan.global_clips):
            drawn = iter([drawer.training(first + offset) for offset in share])
            yield [examples.prepare(self._config, self._moments, [next(drawn) for _ in range(size)]) for size in sizes]

    def _resume(self) -> int:
        """Load the checkpoint that rank 0 chooses; returns its clips, or 0 where there is none."""
        chosen = fault = ""
        if self._main:
            try:
                chosen = self._choose()
            except UserError as error:  # told to the other ranks, then raised on all
                fault = str(error)
        fault = self._group.broadcast_text(fault)
        if fault:
            raise UserError(fault)
        chosen = self._group.broadcast_text(chosen)
        if not chosen:
            return 0
        found = checkpoint.read(self._paths.checkpoints / chosen)
        self._trainer.load({part: found.load(part) for part in checkpoint.PARTS})
        if self._main:
            print(f"resuming from {found.path}", flush=True)
        return found.clips_seen

    def _choose(self) -> str:
        found = checkpoint.newest(self._paths.checkpoints, signature(self._config))
        if found is None:
            damaged = checkpoint.folders(self._paths.checkpoints)
            if damaged:
                raise UserError(
                    f"every checkpoint in {self._paths.checkpoints} is damaged; remove them to start from zero"
                )
            return ""
        if found.provenance.latents_fingerprint != self._fingerprint:
            raise UserError(
                f"{found.path} was trained on latents {found.provenance.latents_fingerprint}, those of "
                f"{self._paths.latents} are {self._fingerprint}; choose another name for this run"
            )
        return found.name

    def _save(self) -> None:
        self._next_save = time.monotonic() + 60 * self._config.train.checkpoint_every_min
        if self._saved_at == self._clips_seen:
            return
        fault = ""
        if self._main:
            provenance = checkpoint.Provenance(
                clips_seen=self._clips_seen, signature=signature(self._config), latents_fingerprint=self._fingerprint,
                code_commit=self._commit, partition=self._partition.name, world_size=self._group.task.world_size,
            )  # fmt: skip
            try:
                checkpoint.save(self._paths.checkpoints, self._trainer.state(), provenance)
                checkpoint.retain(self._paths.checkpoints, self._config.train.keep_checkpoints)
            except UserError as error:  # a full disk: every rank must leave, not wait for this one
                fault = str(error)
        fault = self._group.broadcast_text(fault)
        if fault:
            raise UserError(fault)
        self._saved_at = self._clips_seen

    def _validate(self, log: ProgressLog | None) -> None:
        if self._validation.num_examples:
            measured = self._validation.measure(self._trainer)
            self._last_loss = measured["val_loss"]
            if log:
                log.write("validation", self._clips_seen, **measured)

    def _log_window(self, log: ProgressLog, window: "_Window", waited_s: float) -> None:
        log.write("train", self._clips_seen, **window.values(waited_s), skipped_updates=self._skipped)

    def _result(self, stop: str | None) -> StageResult:
        path = self._paths.checkpoints / checkpoint.folder_name(self._clips_seen)
        outputs = {"checkpoint": str(path), "log": str(self._paths.progress_log)}
        if stop:
            total = self._config.train.total_clips
            return StageResult(
                f"stopped by {stop} at {self._clips_seen:,} of {total:,} clips, saved", complete=False, outputs=outputs
            )
        summary = f"trained {self._clips_seen:,} clips"
        if self._validation.num_examples:
            summary += f", validation loss {self._last_loss:.4f}"
        return StageResult(summary, outputs=outputs)


class _Window:
    """What happened since the last line of the log."""

    def __init__(self, device: torch.device) -> None:
        self.last_loss = 0.0
        self._waited_before_s = 0.0
        self._clear()

    def _clear(self) -> None:
        self._num_clips, self._seconds = 0, 0.0
        self._tally = Tally(torch.zeros(SIZE, dtype=torch.float64))
        self._norms: list[float] = []
        self._lr = float("nan")

    def add(self, tally: Tally, norm: float, lr: float) -> None:
        """Count an applied update."""
        self._tally.merge(tally)
        self.last_loss = float(tally.means()["loss"])
        self._norms.append(norm)
        self._lr = lr

    def count(self, num_clips: int, seconds: float) -> None:
        """Count an update, applied or skipped, and its time; validation and saving are left out of the speed."""
        self._num_clips += num_clips
        self._seconds += seconds

    def values(self, waited_s: float) -> dict[str, object]:
        """The line's values; a new window begins."""
        values = {
            **self._tally.means(),
            "grad_norm": sum(self._norms) / len(self._norms) if self._norms else float("nan"),
            "lr": self._lr,
            "clips_per_s": self._num_clips / self._seconds,
            "wait_s": waited_s - self._waited_before_s,
        }
        self._waited_before_s = waited_s
        self._clear()
        return values
