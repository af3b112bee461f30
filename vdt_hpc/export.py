"""`python -m vdt_hpc.export RUN`: the averaged weights of a run, in the layout of diffusers, for others to use."""

import sys
from collections.abc import Sequence

from vdt_hpc.commandline import Parser, find_run, root_of, run_command, run_paths
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths, user_path
from vdt_hpc.store import exports


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 2 a user's mistake, 3 stopped."""
    return run_command(lambda: _main(arguments), stopped="no export is left half written; the same command begins anew")


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m vdt_hpc.export", description="Write averaged weights in the layout of diffusers.")
    parser.add_argument("run", metavar="RUN", help="name or folder of a run")
    parser.add_argument(
        "--to", metavar="FOLDER", help="where they go (default: exports/CHECKPOINT in the run's folder)"
    )
    parser.add_argument("--root", help="folder that holds the runs (default: runs)")
    parser.add_argument("--checkpoint", metavar="NAME", help="such as clips-000128000 (default: the newest valid one)")
    options = parser.parse_args(arguments)
    root = root_of(options.root)
    folder = find_run(options.run, root)
    config = strict.load(RunConfig, run_paths(folder).run_config).model_copy(update={"name": folder.name})
    paths = RunPaths(config, folder.parent)
    wanted = user_path(options.to) if options.to else None
    if wanted:
        exports.require_free(wanted)  # before gigabytes are read
    source = exports.find(config, paths, options.checkpoint)
    target = wanted or paths.exports / source.name
    exports.write(target, source, config, paths)
    print(f"exported the averaged weights of {config.name}, {source.name}, to {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
