"""`python -m vdt_hpc.report [RUN ...]`: tables, figures and the page of runs that were measured."""

import sys
from collections.abc import Sequence
from pathlib import Path

from vdt_hpc.commandline import Parser, find_run, load_partition, run_command, run_paths
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import stages, strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 2 a user's mistake."""
    return run_command(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m vdt_hpc.report", description="Write tables, figures and the page of runs.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names or folders of runs (default: all with records)")
    parser.add_argument("--root", help="folder that holds the runs (default: runs)")
    options = parser.parse_args(arguments)
    local = load_partition("local")
    root = Path(options.root or local.root).expanduser().absolute()
    folders = [find_run(run, root) for run in options.runs] or _measured(root)
    report = stages.load("report")
    for folder in folders:
        config = strict.load(RunConfig, run_paths(folder).run_config).model_copy(update={"name": folder.name})
        result = report(config, local.model_copy(update={"root": str(folder.parent)}))
        print(f"{folder.name}: {result.summary}")
        for label, path in result.outputs.items():
            print(f"      {label}: {path}")
    if len(folders) > 1:
        _compare(config, local.model_copy(update={"root": str(root)}))
    return 0


def _compare(config: RunConfig, partition: Partition) -> None:
    """Put all runs under the root side by side."""
    result = stages.load("compare")(config, partition)
    print(result.summary)
    for label, path in result.outputs.items():
        print(f"      {label}: {path}")


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
