"""Files from a folder of this machine, for those without internet: found by name, verified, copied."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vdt_hpc import files
from vdt_hpc.commands.fetching import cache
from vdt_hpc.commands.fetching.network import NotFetched
from vdt_hpc.commands.fetching.part import hold
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.weights_table import Wanted
from vdt_hpc.progress import Progress

CHUNK_BYTES = 1 << 22
Result = TypeVar("Result")


class Source:
    """All files below a folder, by name.

    Raises:
        UserError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}; give --from a folder that holds the files")
        self._folder = folder
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for place, _, names in os.walk(folder):
            for name in names:
                self._by_name[name].append(Path(place) / name)

    def fetch(self, wanted: Wanted) -> None:
        """Copy a file into the folder of weights.

        Raises:
            NotFetched: it is not there, or only with other bytes.
            UserError: the disk is full or the folder cannot be written.
        """
        with hold(wanted.path) as part:
            if not cache.is_present(wanted):
                self._copy_first(wanted)
            part.clear()  # of a fetch over the network that was not finished

    def _copy_first(self, wanted: Wanted) -> None:
        found = sorted(path for path in self._by_name[wanted.file.name] if _may_be(path, wanted))
        faults = []
        for path in found:
            try:
                _copy(path, wanted)
            except NotFetched as fault:
                faults.append(f"{path} has {fault}")
            else:
                return
        if faults:
            raise NotFetched("; ".join(faults[:2]) + (f"; and {len(faults) - 2} more" if len(faults) > 2 else ""))
        inside = f"{wanted.entry.hub}/" if wanted.entry.hub else ""
        raise NotFetched(f"there is no {inside}{wanted.file.name} in {self._folder}")


def _may_be(path: Path, wanted: Wanted) -> bool:
    """True if the folders that a file lies in do not speak against it.

    Files of models on the hub have names that many models use: without a SHA-256 they must lie as in the repository
    (OWNER/MODEL/NAME, or MODEL/NAME), or as in the hub's cache (models--OWNER--MODEL/snapshots/REVISION/NAME).
    """
    hub = wanted.entry.hub
    if hub is None or wanted.file.sha256 or cache.record_path(wanted).exists():
        return True
    model, in_cache = hub.split("/")[1], f"models--{hub.replace('/', '--')}"
    return path.parent.name == model or in_cache in path.parts


def _copy(path: Path, wanted: Wanted) -> None:
    """Copy, verify what was copied, and give it its name.

    Raises:
        NotFetched: the bytes are others, or cannot be read.
        UserError: the disk is full or the folder cannot be written.
    """
    num_bytes, right = _readable(path.stat).st_size, wanted.file.size_bytes
    if right is not None and num_bytes != right:
        raise NotFetched(f"{num_bytes:,} bytes, not {right:,}")
    cache.require_space(wanted.path.parent, num_bytes, wanted.label)
    digest = hashlib.sha256()
    with files.finish(wanted.path) as temporary:
        with (
            _readable(lambda: path.open("rb")) as source,
            temporary.open("wb") as target,
            Progress(f"copy {wanted.label}", num_bytes, "bytes") as bar,
        ):
            while chunk := _readable(lambda: source.read(CHUNK_BYTES)):
                target.write(chunk)
                digest.update(chunk)
                bar.advance(len(chunk))
        fault = cache.fault_of(temporary, wanted, digest.hexdigest())
        if fault:
            raise NotFetched(fault)
        cache.record(wanted, str(path), digest.hexdigest(), num_bytes)


def _readable(read: Callable[[], Result]) -> Result:
    """What a look at the source gives; its errors are kept apart from those of the disk that is written."""
    try:
        return read()
    except OSError as error:
        raise NotFetched(f"bytes that cannot be read ({error.strerror})") from None
