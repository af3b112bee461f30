"""`python -m vdt_hpc.status [RUN ...] [--checkpoints]`: how far runs are, who trains them, what is whole."""

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from vdt_hpc.commandline import Parser, find_run, load_partition, run_command, run_paths
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.signature import signature
from vdt_hpc.files import Json, read_json_lines
from vdt_hpc.lease.lease import read_holder
from vdt_hpc.progress import Progress
from vdt_hpc.store import checkpoint, ledger
from vdt_hpc.store.checkpoint import Checkpoint, Damaged
from vdt_hpc.store.ledger import Leg

DAMAGED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 if a checkpoint is damaged, 2 for a user's mistake."""
    return run_command(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m vdt_hpc.status", description="How far runs are, and what they can resume from.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names or folders of runs (default: all)")
    parser.add_argument("--root", help="folder that holds the runs (default: runs)")
    parser.add_argument("--checkpoints", action="store_true", help="list the checkpoints and read every byte of them")
    options = parser.parse_args(arguments)
    root = Path(options.root or load_partition("local").root).expanduser().absolute()
    folders = [find_run(run, root) for run in options.runs] or _all(root)
    num_damaged = 0
    for folder in folders:
        config = strict.load(RunConfig, run_paths(folder).run_config).model_copy(update={"name": folder.name})
        print("\n".join(_overview(folder, config)))
        if options.runs:
            print("\n".join(_lineage(ledger.read(run_paths(folder).ledger))))
        if options.checkpoints:
            num_damaged += _list_checkpoints(run_paths(folder).checkpoints, signature(config))
    return DAMAGED if num_damaged else 0


def _all(root: Path) -> list[Path]:
    found = sorted(root.iterdir()) if root.is_dir() else []
    found = [folder for folder in found if run_paths(folder).run_config.is_file()]
    if not found:
        raise UserError(f"no run under {root}; start one with python -m vdt_hpc.launch, or give another --root")
    return found


def _overview(folder: Path, config: RunConfig) -> Iterator[str]:
    """Lines about one run."""
    paths = run_paths(folder)
    lines, total = _last_lines(paths.progress_log), config.train.total_clips
    train, newest = lines.get("train", {}), checkpoint.folders(paths.checkpoints)
    yield f"{folder.name}  ({folder})"
    state = "complete" if "end" in lines else _position(train, total)
    yield f"  training     {state}"
    if train:
        share = "" if train.get("mfu") is None else f", {train['mfu']:.1%} of the GPUs' peak"
        loss = "none" if train["loss"] is None else f"{train['loss']:.4f}"
        yield f"  last line    loss {loss}, {train['clips_per_s']:.3g} clips/s{share}, {_age(train['time'])} ago"
    if "validation" in lines:
        line = lines["validation"]
        yield f"  validation   loss {line['val_loss']:.4f} at clip {line['clips_seen']:,}"
    yield f"  checkpoints  {len(newest)}" + (f", newest {newest[0].name}" if newest else "")
    holder = read_holder(paths.lease)
    yield f"  trained by   {holder.describe() if holder else 'nobody now'}"


def _lineage(legs: list[Leg]) -> Iterator[str]:
    """A line for every job that has trained a run, oldest first."""
    yield "  jobs         " + (f"{len(legs)}" if legs else "none yet")
    for leg in legs:
        began = datetime.fromisoformat(leg.start).astimezone()
        lasted = f"{_span((datetime.fromisoformat(leg.end) - began).total_seconds()):>7}" if leg.end else "      ?"
        came = "" if leg.last_clips is None else f" -> {leg.last_clips:,}"
        lost = f", {leg.lost_clips:,} clips lost" if leg.lost_clips else ""
        where = f"{leg.partition} x {leg.world_size} ({leg.node})"
        yield f"    {began:%Y-%m-%d %H:%M} {lasted}  {where}  job {leg.job}  clips {leg.first_clips:,}{came}: " + (
            f"{leg.why}{lost}" if leg.why else "training, or killed"
        )


def _position(train: Json, total: int) -> str:
    seen = train.get("clips_seen", 0)
    left = f", {(total - seen) / train['clips_per_s'] / 3600:.1f} h left at this speed" if train else ""
    return f"{seen:,} of {total:,} clips ({seen / total:.1%}{left})"


def _last_lines(path: Path) -> dict[str, Json]:
    """The last line of each kind in a training log."""
    return {str(line["kind"]): line for line in read_json_lines(path)[0]}


def _age(moment: str) -> str:
    return _span(max(0.0, time.time() - datetime.fromisoformat(moment).timestamp()))


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _list_checkpoints(folder: Path, run_signature: str) -> int:
    """Print a line for each checkpoint after reading all of it; returns how many are damaged."""
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


if __name__ == "__main__":
    sys.exit(main())
