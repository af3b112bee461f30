"""The checkpoints of a run, every byte compared with its hash."""

from datetime import datetime
from pathlib import Path

from vdt_hpc.progress import Progress
from vdt_hpc.store import checkpoint
from vdt_hpc.store.checkpoint import Checkpoint, Damaged


def list_all(folder: Path, run_signature: str) -> int:
    """Print a line for each checkpoint after reading all of it; returns how many are damaged or another run's.

    Args:
        folder: of the checkpoints.
        run_signature: `signature` of the run's configuration.

    Raises:
        UserError: the folder cannot be read.
    """
    found = checkpoint.folders(folder)
    faults: dict[Path, str] = {}
    whole: dict[Path, Checkpoint] = {}
    with Progress("verify", len(found), "checkpoints") as progress:
        for path in found:
            try:
                whole[path] = checkpoint.read(path)
                whole[path].verify()
            except Damaged as damage:
                faults[path] = f"DAMAGED: {damage}"
            else:
                if whole[path].provenance.signature != run_signature:
                    faults[path] = "of another run configuration"
            progress.advance()
    for path in found:
        print(f"  {path.name}  {faults.get(path) or 'valid'}{_describe(whole.get(path))}")
    return len(faults)


def _describe(found: Checkpoint | None) -> str:
    if found is None:
        return ""
    num_bytes = sum((found.path / file).stat().st_size for file in found.sha256 if (found.path / file).exists())
    made, saved = found.provenance, datetime.fromtimestamp((found.path / checkpoint.MARK).stat().st_mtime)
    return (
        f"  {num_bytes / 1e9:.3g} GB, saved {saved:%Y-%m-%d %H:%M} by {made.world_size} task(s) of {made.partition}, "
        f"code {made.code_commit[:12]}, latents {made.latents_fingerprint}"
    )
