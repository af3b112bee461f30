"""Where every noun lies: the one place that knows the names of files and folders."""

import os
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.signature import frames_signature, latents_signature

CITYSCAPES_TREE = "leftImg8bit_sequence"
"""Folder of the frames in the layout of Cityscapes."""
ZIP, TAR = ".zip", ".tar"
"""How the names of archives end that frames are read from in place."""
STREETS_COMPLETE = "streets-complete.json"
"""In a folder of made-up clips: written last, so that without it they are not all there."""


def checkout() -> Path:
    """The folder that `vdt_hpc` was imported from: the checkout, or a snapshot of its code."""
    return Path(__file__).resolve().parents[2]


def weights_dir() -> Path:
    """Folder of pretrained weights: $VDT_HPC_WEIGHTS, or `weights` under the checkout."""
    return user_path(os.environ.get("VDT_HPC_WEIGHTS") or str(checkout() / "weights"))


def user_path(text: str, above: Path | None = None) -> Path:
    """The absolute path that a user means.

    Args:
        text: as it was written; `~` and `~name` are home folders.
        above: what a relative path is under; None: the current folder.

    Raises:
        UserError: there is no such home, or the path is no UTF-8, which configurations and submissions are.
    """
    try:
        path = (above or Path()).joinpath(Path(text).expanduser()).absolute()
    except RuntimeError:
        raise UserError(f"{text}: there is no home folder of that user here; write the path in full") from None
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"the path {str(path)!r} is no UTF-8; rename the folder, or choose another") from None
    return path


def exists(path: Path) -> bool:
    """Whether there is a file or folder of that name.

    Raises:
        UserError: the folder that it is in cannot be read, or no name is that long.
    """
    with files.readable(path):
        return path.exists()


def children_of(root: Path) -> list[Path]:
    """What lies right under a root, runs and all else, by name; nothing where there is no root.

    Raises:
        UserError: the root cannot be read.
    """
    with files.readable(root):
        return sorted(root.iterdir()) if root.is_dir() else []


@dataclass(frozen=True)
class RunPaths:
    """Everything that one run reads and writes, under one root."""

    config: RunConfig
    root: Path

    @property
    def frames(self) -> Path:
        """Folder that holds leftImg8bit_sequence/, folders of images or videos; or a zip or tar."""
        if self.config.streets is not None:
            return self.root / "frames" / f"{self.config.data.dataset}-{frames_signature(self.config)}"
        return user_path(self.config.data.root)

    @property
    def comparison(self) -> Path:
        """Folder of the tables and the page that show all runs side by side."""
        return self.root / "comparison"

    @property
    def compiled(self) -> Path:
        """Folder of what torch.compile has made of the models' blocks, shared by all runs."""
        return self.root / "compiled"

    @property
    def indexes(self) -> Path:
        """Folder of the indexes of frames, and of the reports on them, shared by all runs."""
        return self.root / "indexes"

    @property
    def latents(self) -> Path:
        """Folder of the latents' shards and manifest."""
        return self.root / "latents" / f"{self.config.data.dataset}-{latents_signature(self.config)}"

    @property
    def run(self) -> Path:
        """Folder of the run: config, checkpoints, samples, records, tables, page."""
        return self.root / self.config.name

    @property
    def run_config(self) -> Path:
        """The run's own configuration, as first trained."""
        return self.run / "config.yaml"

    @property
    def latents_note(self) -> Path:
        """Which latents are encoded for the run."""
        return self.run / "latents.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of `clips-000000000` folders."""
        return self.run / "checkpoints"

    @property
    def lease(self) -> Path:
        """Folder of the run's lease: who trains it."""
        return self.run / "lease"

    @property
    def ledger(self) -> Path:
        """The run's lineage: one line when a job starts to train it, and one when that has ended."""
        return self.run / "jobs.jsonl"

    @property
    def progress_log(self) -> Path:
        """One JSON line per logged moment of the training."""
        return self.run / "progress.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.run / "tensorboard"

    @property
    def strips(self) -> Path:
        """Folder of the film strips that are drawn while the model trains."""
        return self.run / "strips"

    @property
    def exports(self) -> Path:
        """Folder of exported weights, one folder per checkpoint."""
        return self.run / "exports"

    @property
    def samples(self) -> Path:
        """Folder of sample sets."""
        return self.run / "samples"

    @property
    def records(self) -> Path:
        """One JSON line per measured number."""
        return self.run / "records.jsonl"

    @property
    def tables(self) -> Path:
        """Folder of tables."""
        return self.run / "tables"

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return self.run / "figures"

    @property
    def page(self) -> Path:
        """The page that shows all of it."""
        return self.run / "index.html"

    @property
    def jobs(self) -> Path:
        """Folder of submission files and logs."""
        return self.run / "jobs"

    def jobs_of(self, stage: str, cluster: str) -> Path:
        """Folder of what a stage's jobs on a Slurm cluster leave by number; another cluster has the same numbers."""
        return self.jobs / stage / cluster

    @property
    def submissions(self) -> Path:
        """What was sent to the queue for the run, one line per job."""
        return self.jobs / "submissions.jsonl"

    @property
    def sampling(self) -> Path:
        """Which checkpoint each launch of the stage sample takes."""
        return self.jobs / "sampling"

    @property
    def rehearsals(self) -> Path:
        """Folder of the rehearsals that are going on."""
        return self.run / "rehearsal"

    @property
    def code(self) -> Path:
        """Folder of the snapshots of the code that jobs run."""
        return self.run / "code"


def paths_for(config: RunConfig, partition: Partition) -> RunPaths:
    """The paths of a run on a partition; the root is made absolute against the current directory."""
    return RunPaths(config, user_path(partition.root))
