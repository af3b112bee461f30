"""`python -m vdt_hpc.status [RUN ...]`: how far runs are, in which state, who trains them and who has.

Without a name all runs, a row for each; with one its lineage as a timeline, or (`--logs`) its log, followed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vdt_hpc.commandline import Parser, find_run, is_run, root_of, run_command, run_paths
from vdt_hpc.commands.state import checkpoints, logs, overview, timeline, watching
from vdt_hpc.commands.state.looking import Seen, look
from vdt_hpc.commands.state.states import UNREADABLE, State
from vdt_hpc.commands.state.witnesses import Slurm
from vdt_hpc.commands.words import wrapped
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import stages, strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths, children_of
from vdt_hpc.experiment.signature import signature
from vdt_hpc.files import readable

DAMAGED, USER_ERROR, INTERRUPTED = 1, 2, 130
WATCH_S = 10.0
LEAST_WATCH_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status.

    0: done, or ended by Ctrl-C while it watched or followed. 1: a checkpoint is damaged. 2: a user's mistake, or a run
    whose files are damaged.
    """
    try:
        return run_command(lambda: _main(arguments))
    except KeyboardInterrupt:
        return INTERRUPTED


def _main(arguments: Sequence[str] | None) -> int:
    options = _options(arguments)
    root = root_of(options.root)
    runs = [run_paths(find_run(run, root, unstarted=True)) for run in options.runs] or _all(root)
    if options.checkpoints:
        return _verify(runs)
    slurm, is_detailed = Slurm(), bool(options.runs) or len(runs) == 1
    try:
        if options.logs is not None:
            _follow(runs, options.logs, slurm)
            return 0
        if options.watch is not None:
            watching.watch(lambda: _lines(runs, slurm, is_detailed)[0], options.watch)
    except KeyboardInterrupt:
        return 0
    lines, num_unreadable = _lines(runs, slurm, is_detailed)
    print("\n".join(lines))
    return USER_ERROR if num_unreadable else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m vdt_hpc.status", description="How far runs are, and what they can resume from.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names or folders of runs (default: all)")
    parser.add_argument("--root", help="folder that holds the runs (default: runs)")
    does = parser.add_mutually_exclusive_group()
    does.add_argument(
        "--watch", nargs="?", type=_seconds, const=WATCH_S, metavar="SECONDS",
        help=f"show it again every so often (default: {WATCH_S:g} s), until Ctrl-C",
    )  # fmt: skip
    does.add_argument(
        "--logs", nargs="?", const="", metavar="STAGE",
        help="follow the log of one run: of that stage, or of the job that runs",
    )  # fmt: skip
    does.add_argument("--checkpoints", action="store_true", help="list the checkpoints and read every byte of them")
    options = parser.parse_intermixed_args(arguments)
    if options.logs:
        stages.find(options.logs)
    return options


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; name runs before it") from None
    if not LEAST_WATCH_S <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} s: Slurm is asked each time, so at least {LEAST_WATCH_S:g}")
    return seconds


def _all(root: Path) -> list[RunPaths]:
    """Every run under the root.

    Raises:
        UserError: there is none, or the root cannot be read.
    """
    found = [run_paths(folder) for folder in children_of(root) if _may_be_run(folder)]
    if not found:
        raise UserError(f"no run under {root}; start one with python -m vdt_hpc.launch, or give another --root")
    return found


def _may_be_run(folder: Path) -> bool:
    """True also for a folder that cannot be looked into: it is shown with the reason."""
    try:
        return is_run(folder, unstarted=True)
    except UserError:
        return True


def _lines(runs: Sequence[RunPaths], slurm: Slurm, is_detailed: bool) -> tuple[list[str], int]:
    """What is shown of some runs; and how many of them cannot be read."""
    seen, remarks = look(runs, slurm)
    columns = watching.terminal_columns()
    if is_detailed:
        shown = [_detailed(run, columns) for run in seen]
        num_unreadable = sum(not is_readable for _, is_readable in shown)
        lines = "\n\n".join("\n".join(told) for told, _ in shown).split("\n")
    else:
        num_unreadable = sum(run.state.word == UNREADABLE for run in seen)
        lines = list(overview.table(seen, columns))
    for remark in remarks:
        lines += wrapped(f"note: {remark}", columns, "  ")
    return lines, num_unreadable


def _detailed(run: Seen, columns: int) -> tuple[list[str], bool]:
    """All that is known of a run; and whether its files can be read."""
    state = run.state
    try:
        if run.facts is not None:
            with readable(run.paths.run):  # the timeline asks notes and submissions of single jobs
                return [*overview.block(run, columns), *timeline.timeline(run, columns)], True
    except UserError as error:
        state = State(UNREADABLE, str(error))
    return [f"{run.name}: {overview.describe(state)}"], False


def _follow(runs: Sequence[RunPaths], stage: str, slurm: Slurm) -> None:
    if len(runs) > 1:
        raise UserError(f"--logs follows one run; name it: {', '.join(paths.run.name for paths in runs)}")
    logs.follow(runs[0], stage, slurm)


def _verify(runs: Sequence[RunPaths]) -> int:
    num_damaged = 0
    for paths in runs:
        print(f"{paths.run.name}  ({paths.run})")
        if not paths.run_config.is_file():
            print("  no checkpoints: not started yet")
            continue
        config = strict.load(RunConfig, paths.run_config).model_copy(update={"name": paths.run.name})
        num_damaged += checkpoints.list_all(paths.checkpoints, signature(config))
    return DAMAGED if num_damaged else 0


if __name__ == "__main__":
    sys.exit(main())
