"""What a set of samples is: `samples.json`, written last. Reading it needs no h5py (see `vdt_hpc.store.samples`)."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.sample_config import DecodePrecision, SamplerName
from vdt_hpc.experiment.sample_counts import SampleCounts
from vdt_hpc.experiment.tasks_config import TaskName

SAMPLES = "samples.json"
CLIPS_PER_PART = 8


@dataclass(frozen=True)
class SampleInfo:
    """What a sample set is, and where it came from."""

    run: str
    dataset: str
    task: TaskName
    given_frames: int
    """Number of the frames that the model was given (0: unconditional)."""
    given: tuple[int, ...]
    """Indices of these frames; the others are generated, wholly, or, in a completion, partly."""
    num_frames: int
    """Frames of a sample."""
    window_frames: int
    """Frames of the windows that a sample is made of; equal to `num_frames` where it is made in one."""
    num_clips: int
    num_trajectories: int
    sampler: SamplerName
    num_steps: int
    seed: int
    checkpoint: str
    """Name of the checkpoint's folder."""
    clips_seen: int
    run_signature: str
    latents_fingerprint: str
    code_commit: str
    overlap_frames: int = 0
    """Frames that a window is given of the one before it; 0 where there is one window."""
    decode_precision: DecodePrecision = "fp32"
    """Arithmetic of the decoder."""
    num_repeated_clips: int | None = None
    """Clips with `num_trajectories` samples, spread evenly over all; the others have one. None: all have as many."""

    def __post_init__(self) -> None:
        assert len(self.given) == self.given_frames, (self.given, self.given_frames)

    @property
    def generated(self) -> tuple[int, ...]:
        """Indices of the frames that are not wholly given."""
        return tuple(index for index in range(self.num_frames) if index not in self.given)

    @functools.cached_property
    def counts(self) -> SampleCounts:
        """How many samples each clip has."""
        return SampleCounts(self.num_clips, self.num_trajectories, self.num_repeated_clips or self.num_clips)

    @property
    def name(self) -> str:
        """Name of the set's folder: readable, and different wherever the content would be.

        What has its usual value is not in it, so that sets from before there was a choice keep their names.
        """
        everything = asdict(self)
        usual = {**_usual(everything), "code_commit": self.code_commit}
        content = {key: value for key, value in everything.items() if key not in usual or value != usual[key]}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.task}-{self.sampler}-{self.num_steps}-{self.checkpoint}-{digest}"

    def num_parts(self) -> int:
        """Parts of the set."""
        return -(-self.num_clips // CLIPS_PER_PART)

    def part_of(self, clip: int) -> int:
        """The part that holds a clip."""
        return clip // CLIPS_PER_PART

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
    names = {field.name for field in fields(SampleInfo)}
    if not names - {*_USUAL} <= set(content) <= names:
        raise UserError(f"{folder / SAMPLES} is damaged; remove {folder} and run the stage sample again")
    whole = {**_usual(content), **content}
    return SampleInfo(**{**whole, "given": tuple(whole["given"])})


def read_infos(folder: Path) -> tuple[list[SampleInfo], list[str]]:
    """What every finished set under a run's `samples` folder says of itself, in order of name; and what is damaged."""
    found, damaged = [], []
    for child in (child for child in sorted(folder.glob("*")) if child.is_dir()):
        try:
            info = read_info(child)
        except UserError as error:
            damaged.append(str(error))
            continue
        if info is not None:
            found.append(info)
    return found, damaged


_USUAL = ("given", "window_frames", "overlap_frames", "decode_precision", "num_repeated_clips")


def _usual(content: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the fields that sets from before there was a choice do not have, as they follow from the others."""
    values = (tuple(range(content["given_frames"])), content["num_frames"], 0, "fp32", None)
    return dict(zip(_USUAL, values, strict=True))
