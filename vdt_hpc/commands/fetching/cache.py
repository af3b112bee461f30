"""The folder of weights: what lies in it, whether its bytes are the right ones, and how a file gets its name there."""

import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import weights
from vdt_hpc.experiment.paths import weights_dir
from vdt_hpc.experiment.weights_table import TableEntry, Wanted


@dataclass(frozen=True)
class State:
    """What is known of a file in the folder of weights."""

    kind: Literal["present", "missing", "damaged"]
    remark: str = ""


def look(wanted: Wanted) -> State:
    """Read a file in the folder of weights and compare it with what is expected.

    Raises:
        UserError: it, or the record beside it, cannot be read.
    """
    with files.readable(wanted.path):
        if not wanted.path.exists():
            other = _instead(wanted.path.name)
            return State("present", f"as {other}, not verified") if other else State("missing")
        if not wanted.path.is_file():
            return State("damaged", "no file")
    fault = fault_of(wanted.path, wanted)
    if fault:
        return State("damaged", fault)
    if wanted.file.sha256:
        return State("present")
    return State("present", "as first fetched" if record_path(wanted).exists() else "SHA-256 not known")


def is_in_hub_cache(entry: TableEntry) -> bool:
    """True if the stages take an autoencoder from the hub's own cache: it is there and no folder comes before it."""
    if entry.hub is None:
        return False
    with files.readable(weights_dir()):
        if any(folder.is_dir() for folder in weights.autoencoder_folders(entry.hub)):
            return False
    return weights.is_cached(entry.hub)


def fault_of(path: Path, wanted: Wanted, sha256: str | None = None) -> str:
    """What is wrong with the bytes of a file that is to be, or is, what is wanted; empty if nothing is.

    Args:
        path: the file.
        wanted: what it should be.
        sha256: of the file, if it is known already.

    Raises:
        UserError: a file cannot be read.
    """
    with files.readable(path):
        num_bytes, right = path.stat().st_size, wanted.file.size_bytes
        if right is not None and num_bytes != right:
            return f"{num_bytes:,} bytes, not {right:,}"
        if num_bytes == 0:
            return "no bytes"
        expected, why = wanted.file.sha256, ""
        if expected is None and record_path(wanted).exists():
            expected = str(files.read_json(record_path(wanted)).get("sha256"))
            why = f", which {record_path(wanted)} holds from an earlier fetch; remove that to trust another"
        if expected is None:
            return ""
        found = sha256 or files.sha256(path)
    return "" if found.startswith(expected) else f"SHA-256 {found}, not {expected}{why}"


def make_folder(folder: Path) -> None:
    """Make a folder for weights, if it is not there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} is no folder and none can be made there ({error.strerror}); set $VDT_HPC_WEIGHTS"
        ) from None


def is_present(wanted: Wanted) -> bool:
    """Whether a file is there and right; a damaged one loses its name, so that no stage uses it.

    Raises:
        UserError: it cannot be read, or the folder not be written.
    """
    state = look(wanted)
    if state.kind == "damaged":
        aside = wanted.path.with_name(f"{wanted.path.name}.damaged")
        with files.explained(wanted.path):
            wanted.path.replace(aside)
        print(f"{wanted.path} is damaged ({state.remark}); it is now {aside.name}", flush=True)
    return state.kind == "present"


def record(wanted: Wanted, origin: str, sha256: str, size_bytes: int) -> None:
    """Note beside a verified file, right before it gets its name, where it came from and what its bytes are.

    Before, since a file without its SHA-256 would be trusted unseen.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    files.write_json(
        record_path(wanted),
        {
            "from": origin,
            "sha256": sha256,
            "sha256_known_before": wanted.file.sha256 is not None,
            "size_bytes": size_bytes,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "licence": wanted.entry.licence,
        },
    )


def record_path(wanted: Wanted) -> Path:
    """The record beside a file: from where it came, and its SHA-256."""
    return wanted.path.with_name(f"{wanted.path.name}.origin.json")


def require_space(folder: Path, num_bytes: int, what: str) -> None:
    """Do nothing if a file fits.

    Raises:
        UserError: it does not.
    """
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise UserError(
            f"no space for {what}: {num_bytes:,} bytes are to come and {free:,} are free in {folder}; free some, or "
            "set $VDT_HPC_WEIGHTS to another folder, and run this again"
        )


def _instead(name: str) -> str | None:
    """The name of a file that a metric takes as well as the one of this name, if it is there."""
    for each in weights.METRIC_WEIGHTS:
        if name in each.files:
            found = each.find()
            return found.name if found else None
    return None
