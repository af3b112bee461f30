"""How often in a row a job has been started again without having finished anything new in between."""

from pathlib import Path

from vdt_hpc import files
from vdt_hpc.experiment.paths import RunPaths


def count_idle(record: Path, paths: RunPaths) -> int:
    """Count one more restart; returns how many there were in a row, this one included, that found the same pieces.

    Args:
        record: the file that keeps the count.
        paths: of the run.

    Raises:
        UserError: the record is damaged or cannot be written.
    """
    finished = _finished(paths)
    before = files.read_json(record) if record.exists() else {}
    count = before["count"] + 1 if before.get("finished") == finished else 1
    files.write_json(record, {"finished": finished, "count": count})
    return int(count)


def _finished(paths: RunPaths) -> list[str]:
    """Names of the finished pieces of all stages: shards, checkpoints, parts; the length of the records."""
    pieces = [path for folder in (paths.latents, paths.samples) for path in folder.rglob("*.*")]
    pieces += paths.checkpoints.glob("*")
    lengths = [f"{paths.records.stat().st_size} bytes"] if paths.records.exists() else []
    # Hidden: not finished yet, or left by a process that was killed.
    return sorted(path.name for path in pieces if not path.name.startswith(".")) + lengths
