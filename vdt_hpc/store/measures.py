"""What was measured of each clip, kept beside the samples: a new statistic needs no new look at the frames.

    samples/<set>/measures/<subject>/<metric>-00000.h5

One file for each part of the set: `values`, (clips, trajectories, ...) of one number for each frame that counts, or of
one feature vector for each clip, NaN where a clip has fewer trajectories than another; `clip_id`; as attributes, how it
was measured, by which weights, and of the model the digest of the samples: a metric that is defined anew, or has other
weights, is measured anew, and so is a part that was sampled anew and came out otherwise.
Each is finished by rename, so that any number of tasks, now or later, fills the same set; who removes the samples
removes what was measured of them.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from vdt_hpc import unfinished
from vdt_hpc.errors import UserError
from vdt_hpc.store import hdf5

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Definition:
    """How something was measured."""

    how: str
    """In words."""
    weights_sha256: str = ""
    """SHA-256 of the pretrained weights; empty: it needs none."""

    @property
    def digest(self) -> str:
        """Short name of the words."""
        return hashlib.sha256(self.how.encode()).hexdigest()[:12]


class Measures:
    """What was measured of one sample set.

    Args:
        samples: the set's folder.
    """

    def __init__(self, samples: Path) -> None:
        self._folder = samples / "measures"

    def origin(self, subject: str, metric: str, part: int) -> tuple[Definition, str] | None:
        """How a part of the set was measured, and the digest of its samples (see `write`); None: it was not.

        Raises:
            UserError: what was kept is damaged.
        """
        path = self._path(subject, metric, part)
        if not path.exists():
            return None
        with _reading(path) as file:
            definition = Definition(str(file.attrs["how"]), str(file.attrs.get("weights_sha256", "")))
            return definition, str(file.attrs.get("samples_sha256", ""))

    def is_whole(self, subject: str, metric: str, how: str, num_parts: int) -> bool:
        """Whether all parts of the set were measured in this way, and by the same weights, whichever."""
        origins = [self.origin(subject, metric, part) for part in range(num_parts)]
        found = {origin and origin[0] for origin in origins}
        (one,) = found if len(found) == 1 else (None,)
        return one is not None and one.how == how

    def metrics(self) -> list[str]:
        """Names of the metrics that something was measured by, sorted."""
        return sorted({path.stem.rpartition("-")[0] for path in self._folder.glob("*/[!.]*.h5")})

    def write(
        self, subject: str, metric: str, definition: Definition, part: int, values: Sequence[FloatArray],
        clip_ids: Sequence[str], samples_sha256: str = "",
    ) -> None:  # fmt: skip
        """Keep what was measured of one part.

        Args:
            subject, metric, definition: of what, by which metric, defined in which way.
            part: of the sample set.
            values: of each clip, (trajectories, N), or (trajectories, pieces, N) where a metric sees a clip in pieces.
            clip_ids: one name per clip.
            samples_sha256: digest of the part's samples; empty: no sample has a part in it, or the part has none.

        Raises:
            UserError: the disk is full.
            ValueError: values are no numbers, or do not fit the names.
        """
        if any(clip.ndim not in (2, 3) for clip in values) or len(values) != len(clip_ids):
            raise ValueError(f"values of shapes {[clip.shape for clip in values]} for {len(clip_ids)} clips")
        if any(np.isnan(clip).any() for clip in values):
            raise ValueError(f"{metric} of {subject} in part {part} holds values that are no numbers")
        with hdf5.finish(self._path(subject, metric, part)) as file:
            file.create_dataset("values", data=_padded(values))
            file.create_dataset("clip_id", data=np.array(clip_ids, dtype=h5py.string_dtype()))
            file.attrs.update(asdict(definition), samples_sha256=samples_sha256)

    def read(self, subject: str, metric: str, num_parts: int) -> FloatArray:
        """What was measured of all clips, in the set's order: (clips, trajectories, ...), NaN where a clip has fewer
        trajectories than another.

        Raises:
            UserError: a part is damaged.
        """
        clips: list[FloatArray] = []
        for part in range(num_parts):
            with _reading(self._path(subject, metric, part)) as file:
                clips += list(file["values"][:])
        return _padded(clips)

    def remove_leftovers(self) -> None:
        """Remove what killed tasks left unfinished."""
        for inside in self._folder.glob("*/"):
            unfinished.sweep(inside)

    def _path(self, subject: str, metric: str, part: int) -> Path:
        return self._folder / subject / f"{metric}-{part:05d}.h5"


def _padded(clips: Sequence[FloatArray]) -> FloatArray:
    """(clips, most trajectories, ...), NaN where a clip has fewer."""
    padded = np.full((len(clips), max(len(clip) for clip in clips), *clips[0].shape[1:]), np.nan)
    for index, clip in enumerate(clips):
        padded[index, : len(clip)] = clip
    return padded


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[h5py.File]:
    """An open file; what HDF5 says of a damaged one becomes one line."""
    try:
        with h5py.File(path) as file:
            yield file
    except (OSError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it and run the stage evaluate again") from None
