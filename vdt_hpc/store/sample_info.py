"""What a set of samples is: `samples.json`, written last. Reading it needs no h5py (see `vdt_hpc.store.samples`)."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import TaskName

SAMPLES = "samples.json"
CLIPS_PER_PART = 8


@dataclass(frozen=True)
class SampleInfo:
    """What a sample set is, and where it came from."""

    run: str
    dataset: str
    task: TaskName
    given_frames: int
    """Frames that the model was given at the start (0: unconditional)."""
    num_frames: int
    num_clips: int
    num_trajectories: int
    sampler: str
    num_steps: int
    seed: int
    checkpoint: str
    """Name of the checkpoint's folder."""
    clips_seen: int
    run_signature: str
    latents_fingerprint: str
    code_commit: str

    @property
    def name(self) -> str:
        """Name of the set's folder: readable, and different wherever the content would be."""
        content = {key: value for key, value in asdict(self).items() if key != "code_commit"}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.task}-{self.sampler}-{self.num_steps}-{self.checkpoint}-{digest}"

    def num_parts(self) -> int:
        """Parts of the set."""
        return -(-self.num_clips // CLIPS_PER_PART)

    def part_clips(self, part: int) -> range:
        """Indices, within the test split, of the clips in a part."""
        return range(part * CLIPS_PER_PART, min((part + 1) * CLIPS_PER_PART, self.num_clips))


def read_info(folder: Path) -> SampleInfo | None:
    """What the set in a folder says of itself, or None where it is not finished.

    Raises:
        UserError: `samples.json` is damaged.
    """
    if not (folder / SAMPLES).exists():
        return None
    content = files.read_json(folder / SAMPLES)
    if set(content) != {field.name for field in fields(SampleInfo)}:
        raise UserError(f"{folder / SAMPLES} is damaged; remove {folder} and run the stage sample again")
    return SampleInfo(**content)


def read_infos(folder: Path) -> list[SampleInfo]:
    """What every finished set under a run's `samples` folder says of itself, in order of name.

    Raises:
        UserError: one is damaged.
    """
    found = [read_info(child) for child in sorted(folder.glob("*")) if child.is_dir()]
    return [info for info in found if info is not None]
