"""`python -m vdt_hpc.report [RUN ...]`: tables, figures and the page of runs that were measured."""

import contextlib
import functools
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

from vdt_hpc.commandline import STOPPED, USER_ERROR, Parser, find_run, load_partition, root_of, run_command, run_paths
from vdt_hpc.dist import cpus_of_task, current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import stages, strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.pool import map_ahead, worker_processes


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 2 a user's mistake, also in one run of several, 3 stopped."""
    try:
        return run_command(lambda: _main(arguments))
    except KeyboardInterrupt:
        print("\nstopped; the pages that were named are finished", file=sys.stderr)
        return STOPPED


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m vdt_hpc.report", description="Write tables, figures and the page of runs.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names or folders of runs (default: all with records)")
    parser.add_argument("--root", help="folder that holds the runs (default: runs)")
    options = parser.parse_args(arguments)
    local = load_partition("local")
    root = root_of(options.root)
    folders = [find_run(run, root) for run in options.runs] or _measured(root)
    with contextlib.closing(_reports(folders, local)) as reports:
        told = [_tell(folder.name, result) for folder, result in zip(folders, reports, strict=True)]
    if len(folders) > 1:
        told.append(_tell("compare", _result("compare", run_paths(folders[0]).config, local, root)))
    return 0 if all(told) else USER_ERROR


def _reports(folders: Sequence[Path], partition: Partition) -> Generator[StageResult | UserError, None, None]:
    """What became of each run's report, in their order; they are made side by side, as many as there are cores."""
    report = functools.partial(_report, partition=partition)
    num_workers = min(len(folders), cpus_of_task(current_task()))
    if num_workers == 1:
        yield from map(report, folders)
        return
    with worker_processes(num_workers) as pool:
        yield from map_ahead(pool, report, folders, ahead=len(folders))


def _report(folder: Path, partition: Partition) -> StageResult | UserError:
    """Report one run; a user's mistake is returned, since it is no reason to leave out the other runs."""
    try:
        config = strict.load(RunConfig, run_paths(folder).run_config).model_copy(update={"name": folder.name})
    except UserError as error:
        return error
    return _result("report", config, partition, folder.parent)


def _result(stage: str, config: RunConfig, partition: Partition, root: Path) -> StageResult | UserError:
    try:
        return stages.load(stage)(config, partition.model_copy(update={"root": str(root)}))
    except UserError as error:
        return error


def _tell(name: str, result: StageResult | UserError) -> bool:
    """Print what became of a run or of the comparison; whether that is well."""
    if isinstance(result, UserError):
        print(f"error: {name}: {result}", file=sys.stderr)
        return False
    print(result.summary if result.summary.startswith(f"{name}: ") else f"{name}: {result.summary}")
    for label, path in result.outputs.items():
        print(f"      {label}: {path}", flush=True)
    return True


def _measured(root: Path) -> list[Path]:
    """Folders of all runs under the root that have records.

    Raises:
        UserError: there is none.
    """
    folders = sorted(root.iterdir()) if root.is_dir() else []
    found = [
        folder for folder in folders if run_paths(folder).run_config.is_file() and run_paths(folder).records.is_file()
    ]
    if not found:
        raise UserError(f"no run under {root} has records; run the stage evaluate first, or give another --root")
    return found


if __name__ == "__main__":
    sys.exit(main())
