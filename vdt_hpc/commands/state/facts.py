"""What the disk tells of a run: its jobs, its lineage, its training log, its checkpoints, its lease. Asks no Slurm."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vdt_hpc import files, typed
from vdt_hpc.commands.state import attempts
from vdt_hpc.commands.state.attempts import Attempt
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.lease.lease import read_heartbeat
from vdt_hpc.lease.owner import Owner
from vdt_hpc.store import checkpoint, ledger
from vdt_hpc.store.encoding import Encoding, read_encoding
from vdt_hpc.store.ledger import Leg


@dataclass(frozen=True)
class Logged:
    """A line of the training log, as far as it is shown; null where a number does not exist."""

    clips_seen: int | None = None
    time: datetime | None = None
    loss: float | None = None
    clips_per_s: float | None = None
    mfu: float | None = None
    val_loss: float | None = None


@dataclass(frozen=True)
class Facts:
    """One run as its folder is now."""

    paths: RunPaths
    config: RunConfig | None
    """The configuration as first trained; None while nothing has trained."""
    attempts: tuple[Attempt, ...]
    """Its jobs of all stages, oldest first."""
    legs: tuple[Leg, ...]
    """Its lineage, oldest first."""
    log: dict[str, Logged]
    """The last line of each kind in the training log."""
    checkpoints: tuple[Path, ...]
    """Newest first."""
    encoding: Encoding | None
    """Its latents while they are being encoded."""
    holder: Owner | None
    """Who holds the lease by its file, dead or alive."""
    silent_s: float
    """Seconds since the holder's last sign of life."""

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.paths.run.name

    @property
    def is_trained(self) -> bool:
        """Whether training is complete."""
        return "end" in self.log

    @property
    def clips_seen(self) -> int:
        """Clips that training has seen, by its log."""
        return max((line.clips_seen or 0 for line in self.log.values()), default=0)

    @property
    def total_clips(self) -> int | None:
        """Clips that training will have seen; None while nobody has written it down."""
        return self.config.train.total_clips if self.config else None

    @property
    def clips_per_s(self) -> float | None:
        """Speed by the last line of the log; None while there is none."""
        return self.log["train"].clips_per_s if "train" in self.log else None

    @property
    def left_s(self) -> float | None:
        """Seconds of training left at that speed; None where it is not known, or over."""
        if self.is_trained or self.total_clips is None or not self.clips_per_s:
            return None
        return (self.total_clips - self.clips_seen) / self.clips_per_s

    @property
    def logged_at(self) -> datetime | None:
        """When the training log got its last line."""
        times = [line.time.astimezone() for line in self.log.values() if line.time]
        return max(times, default=None)

    @property
    def num_restarts(self) -> int:
        """How often training was started again."""
        return max(0, len(self.legs) - 1)

    @property
    def restart_reasons(self) -> str:
        """What the restarts came after, the most frequent first: `the time limit (2), task 1 killed`."""
        whys = Counter(leg.why or ledger.KILLED for leg in self.legs[:-1])
        return ", ".join(why if count == 1 else f"{why} ({count})" for why, count in whys.most_common())


def read(paths: RunPaths) -> Facts:
    """Look at a run's folder.

    Raises:
        UserError: a file in it is damaged or cannot be read.
    """
    with files.readable(paths.run):
        config = strict.load(RunConfig, paths.run_config) if paths.run_config.is_file() else None
        heartbeat = read_heartbeat(paths.lease)
        return Facts(
            paths=paths,
            config=config,
            attempts=tuple(attempts.of_run(paths)),
            legs=tuple(ledger.read(paths.ledger, paths.jobs / "train")),
            log=_log(paths.progress_log),
            checkpoints=tuple(checkpoint.folders(paths.checkpoints)),
            encoding=read_encoding(paths),
            holder=heartbeat[0] if heartbeat else None,
            silent_s=heartbeat[1] if heartbeat else 0.0,
        )


def _log(path: Path) -> dict[str, Logged]:
    """The last line of each kind in a training log."""
    last = {str(line.get("kind")): line for line in files.read_json_lines(path)[0]}
    return {kind: typed.read(Logged, line, path) for kind, line in last.items()}
