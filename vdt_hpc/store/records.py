"""Records on disk: one JSON line per measured number, `records.jsonl` in the run's folder.

A number that could not be measured is a record too, with the reason in `missing`.
"""

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.sample_config import SamplerName
from vdt_hpc.experiment.tasks_config import TaskName


@dataclass(frozen=True)
class Record:
    """One measured number, with everything needed to trace it."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # for reading alone, see `read_records`

    run: str
    dataset: str
    subject: str
    """What was measured: `model`, `copy-last-frame`, `autoencoder`, `real-against-real`."""
    task: TaskName
    protocol: str
    metric: str
    value: float | None
    """The number; None where `missing` says why there is none."""
    missing: str | None
    """Why there is no number; None where there is one."""
    interval_low: float | None
    """Lower end of the 95 % bootstrap interval over clips; None where the metric has none."""
    interval_high: float | None
    """Upper end of that interval."""
    num_clips: int
    num_trajectories: int
    num_frames: int
    given_frames: int
    sampler: SamplerName | None
    """None for subjects that are not sampled."""
    num_steps: int | None
    seed: int | None
    checkpoint: str | None
    clips_seen: int | None
    samples: str | None
    """Name of the sample set's folder; None for subjects that are not sampled."""
    latents_fingerprint: str
    code_commit: str
    given: tuple[int, ...] | None = None
    """Indices of the given frames, where they are not the first ones."""
    decode_precision: str | None = None
    """Arithmetic of the decoder that made the frames, where it is not fp32."""
    definition: str | None = None
    """Digest of the metric's definition; None where there is no number."""
    weights_sha256: str | None = None
    """SHA-256 of the pretrained weights that measured; None where there is no number, or none are needed."""
    samples_digest: str | None = None
    """Digest of the samples that were measured; None where nothing was sampled, or the samples have none."""
    floor_clips: int | None = None
    """Of a distance of real clips from each other: clips on each side."""

    def __post_init__(self) -> None:
        if (self.value is None) == (self.missing is None):
            raise ValueError("a record has either a value or the reason why it is missing")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.metric} of {self.subject} is {self.value}; a record needs a finite number")

    @property
    def key(self) -> tuple[object, ...]:
        """What a record measures; a newer record of the same key replaces the older."""
        return (self.run, self.subject, self.task, self.protocol, self.metric, self.samples, self.latents_fingerprint,
                self.num_clips, self.num_frames, self.given_frames, self.given, self.decode_precision)  # fmt: skip

    @property
    def given_indices(self) -> tuple[int, ...]:
        """Indices of the given frames."""
        return tuple(range(self.given_frames)) if self.given is None else self.given


def read_records(path: Path) -> list[Record]:
    """Every record of a run; an empty list where there is no file.

    Raises:
        UserError: a line is damaged (named by its number), or the file cannot be read.
    """
    with files.readable(path):
        lines = path.read_bytes().splitlines() if path.exists() else []
    read_line = _adapter().validate_json
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(read_line(line))
        except ValidationError as error:
            said = f"{path}:{number} is damaged ({_fault(error)}); remove the file and run evaluate again"
            raise UserError(said) from None
    return records


@functools.cache
def _adapter() -> TypeAdapter[Record]:
    """Reads a line and checks the type of every field, in a quarter of the time that json and the constructor take."""
    return TypeAdapter(Record)


def _fault(error: ValidationError) -> str:
    """The first fault of a line: of which field, and what."""
    fault = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in fault["loc"])
    return f"{field}: {fault['msg']}" if field else fault["msg"]


def merge_records(path: Path, new: Iterable[Record]) -> list[Record]:
    """Put records into a run's file, replacing those of the same key; finished by rename. Returns all records."""
    merged = {record.key: record for record in read_records(path)}
    merged.update({record.key: record for record in new})
    files.write_text(path, "".join(json.dumps(asdict(record)) + "\n" for record in merged.values()))
    return list(merged.values())
