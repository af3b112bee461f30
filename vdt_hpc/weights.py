"""`python -m vdt_hpc.weights [NAME ...]`: the pretrained weights that the stages need, fetched once, verified, kept."""

import sys
from collections.abc import Callable, Sequence

from vdt_hpc.commandline import Parser, run_command
from vdt_hpc.commands.fetching import cache, listing
from vdt_hpc.commands.fetching.copying import Source
from vdt_hpc.commands.fetching.network import Network, NotFetched
from vdt_hpc.experiment import weights_table
from vdt_hpc.experiment.paths import user_path, weights_dir
from vdt_hpc.experiment.weights_table import Wanted

NOT_FETCHED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 all there, 1 something is not, 2 a user's mistake, 3 stopped."""
    return run_command(lambda: _main(arguments), stopped="what has come is kept, and the same command goes on")


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m vdt_hpc.weights", description="Fetch pretrained weights, verify and keep them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which (default: all in the table); see --list")
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--list", action="store_true", help="say what there is and what is here; fetch nothing")
    does.add_argument(
        "--from", dest="source", metavar="DIR", help="take the files from anywhere below a folder, not the network"
    )
    parser.add_argument("--table", metavar="FILE", help="another table of weights (default: configs/weights.yaml)")
    options = parser.parse_args(arguments)
    entries = weights_table.load(user_path(options.table) if options.table else None).choose(options.names)
    if options.list:
        print(listing.render(entries))
        return 0
    fetch = Source(user_path(options.source)).fetch if options.source else Network().fetch
    num_missing = 0
    for entry in entries:
        if cache.is_in_hub_cache(entry):
            print(f"{entry.name} is in the hub's local cache")
        else:
            num_missing += sum(not _provide(wanted, fetch) for wanted in entry.wanted())
    if num_missing:
        print(
            f"{num_missing} file(s) are missing in {weights_dir()}; the same command tries again, "
            "--from DIR takes them from a folder",
            file=sys.stderr,
        )
    return NOT_FETCHED if num_missing else 0


def _provide(wanted: Wanted, fetch: Callable[[Wanted], None]) -> bool:
    """Fetch a file if it is not there or damaged; whether it is there now."""
    state = cache.look(wanted)
    if state.kind == "present":
        print(f"{wanted.label} is here" + (f" ({state.remark})" if state.remark else ""))
        return True
    try:
        fetch(wanted)
    except NotFetched as fault:
        print(f"error: {wanted.label}: {fault}", file=sys.stderr)
        return False
    print(f"{wanted.label} is now in {wanted.path}")
    if wanted.file.sha256 is None:
        print(f"its SHA-256 was not known; {cache.record_path(wanted)} holds it from now on")
    return True


if __name__ == "__main__":
    sys.exit(main())
