"""`python -m vdt_hpc.report [RUN ...]`: tables, figures and the page of runs that were measured."""

import contextlib
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vdt_hpc.commandline import (
    USER_ERROR,
    Parser,
    find_run,
    is_run,
    load_partition,
    root_of,
    run_command,
    run_paths,
)
from vdt_hpc.dist import cpus_of_task, current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import stages, strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import children_of
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.pool import map_ahead, worker_processes

CRASHED = 1


@dataclass(frozen=True)
class Crash:
    """A bug that ended the report of a run."""

    traceback: str


Result = StageResult | UserError | Crash


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status.

    0: done. 1: a run's report crashed. 2: a user's mistake or a damaged file, also in one run of several. 3: stopped.
    """
    return run_command(lambda: _main(arguments), stopped="the pages that were named are finished")


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m vdt_hpc.report", description="Write tables, figures and the page of runs.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names or folders of runs (default: all with records)")
    parser.add_argument("--root", help="folder that holds the runs (default: runs)")
    options = parser.parse_args(arguments)
    local = load_partition("local")
    root = root_of(options.root)
    folders = list(dict.fromkeys(find_run(run, root) for run in options.runs)) or _measured(root)
    with contextlib.closing(_reports(folders, local)) as reports:
        told = [_tell(folder.name, result) for folder, result in zip(folders, reports, strict=True)]
    if len(folders) > 1:
        told.append(_tell("compare", _compare(folders if options.runs else None, local, root)))
    return next((status for status in (CRASHED, USER_ERROR) if status in told), 0)


def _reports(folders: Sequence[Path], partition: Partition) -> Generator[Result, None, None]:
    """What became of each run's report, in their order; they are made side by side, as many as there are cores."""
    report = functools.partial(_report, partition=partition)
    num_workers = min(len(folders), cpus_of_task(current_task()))
    if num_workers == 1:
        yield from map(report, folders)
        return
    with worker_processes(num_workers) as pool:
        yield from map_ahead(pool, report, folders, ahead=len(folders))


def _report(folder: Path, partition: Partition) -> Result:
    """Report one run; what ends it is returned, since it is no reason to leave out the other runs."""
    return _guarded(lambda: _report_stage(folder, partition))


def _report_stage(folder: Path, partition: Partition) -> StageResult:
    config = strict.load(RunConfig, run_paths(folder).run_config).model_copy(update={"name": folder.name})
    return stages.load("report")(config, partition.model_copy(update={"root": str(folder.parent)}))


def _compare(folders: Sequence[Path] | None, partition: Partition, root: Path) -> Result:
    """Put some runs side by side, below the root; None: all runs under it."""
    if folders is not None:
        os.environ[stages.COMPARED] = json.dumps([str(folder) for folder in folders])
    try:
        where = partition.model_copy(update={"root": str(root)})
        return _guarded(lambda: stages.load("compare")(RunConfig(), where))
    finally:
        os.environ.pop(stages.COMPARED, None)


def _guarded(stage: Callable[[], StageResult]) -> Result:
    try:
        return stage()
    except UserError as error:
        return error
    except Exception:
        return Crash(traceback.format_exc())


def _tell(name: str, result: Result) -> int:
    """Print what became of a run or of the comparison; returns the exit status that belongs to it."""
    if isinstance(result, Crash):
        print(f"error: {name} crashed:\n{result.traceback}", file=sys.stderr, end="", flush=True)
        return CRASHED
    if isinstance(result, UserError):
        print(f"error: {name}: {result}", file=sys.stderr)
        return USER_ERROR
    print(result.summary if result.summary.startswith(f"{name}: ") else f"{name}: {result.summary}")
    for label, path in result.outputs.items():
        print(f"      {label}: {path}", flush=True)
    return 0


def _measured(root: Path) -> list[Path]:
    """Folders of all runs under the root that have records, and of those that may not be looked into: these are told.

    Raises:
        UserError: there is none, or the root cannot be read.
    """
    found = [folder for folder in children_of(root) if _may_have_records(folder)]
    if not found:
        raise UserError(f"no run under {root} has records; run the stage evaluate first, or give another --root")
    return found


def _may_have_records(folder: Path) -> bool:
    try:
        return is_run(folder) and run_paths(folder).records.is_file()
    except UserError:
        return True


if __name__ == "__main__":
    sys.exit(main())
