"""What weights there are: for what, which files, how large, here or not, and from where they would come."""

from collections.abc import Sequence

from vdt_hpc.commands.fetching import cache
from vdt_hpc.commands.words import columns
from vdt_hpc.experiment.paths import weights_dir
from vdt_hpc.experiment.weights_table import TableEntry, Wanted


def render(entries: Sequence[TableEntry]) -> str:
    """A paragraph for each of some weights; every file that is here is read and its SHA-256 compared."""
    lines = [f"{weights_dir().absolute()}"]
    for entry in entries:
        in_hub_cache = cache.is_in_hub_cache(entry)
        lines += ["", f"{entry.name}: {entry.purpose}; licence {entry.licence}"]
        lines += columns([_row(wanted, in_hub_cache) for wanted in entry.wanted()], indent="  ")
    return "\n".join(lines)


def _row(wanted: Wanted, in_hub_cache: bool) -> tuple[str, ...]:
    size = wanted.file.size_bytes
    state = cache.State("present", "in the hub's local cache, not verified") if in_hub_cache else cache.look(wanted)
    told = state.kind + (f" ({state.remark})" if state.remark else "")
    if state.kind != "present":
        sha256 = "" if wanted.file.sha256 else "; SHA-256 not known"
        told += f", from {' or '.join(wanted.file.urls) or 'nowhere'}{sha256}"
    return (wanted.path.relative_to(weights_dir().absolute()).as_posix(), f"{size:,} bytes" if size else "?", told)
