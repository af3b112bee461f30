"""What there is to encode and what comes out of it, as far as an index has counted: a part of `launch --dry-run`."""

from collections.abc import Iterator

from vdt_hpc.commands.checks.disk import free_bytes, nearest
from vdt_hpc.commands.checks.inputs import is_encoded
from vdt_hpc.commands.words import amount, when
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.size import num_shards, shards_bytes
from vdt_hpc.files import readable
from vdt_hpc.store.frames_index import counted_at, read_counts, report_path


def describe(config: RunConfig, paths: RunPaths) -> Iterator[str]:
    """Where a run's frames come from, what is in them, and what latents they become; the frames are not looked at."""
    yield f"frames       {_source(config, paths)}"
    counts = read_counts(config, paths)
    if counts is None:
        yield "indexed      not yet: python -m vdt_hpc.launch index ... says what there is, before anything is encoded"
    else:
        splits = ", ".join(f"{split} {count:,}" for split, count in counts.num_clips.items())
        faults = f"; {counts.num_faults:,} faults, see {report_path(config, paths)}" if counts.num_faults else ""
        yield (
            f"indexed      {when(counted_at(config, paths))}: {sum(counts.num_clips.values()):,} clips ({splits}) of "
            f"{counts.num_frames:,} frames, {amount(counts.num_bytes)} in {counts.num_files:,} files{faults}"
        )
    with readable(paths.root):
        free = f"{amount(free_bytes(nearest(paths.latents)))} are free in {paths.root}"
    if is_encoded(config, paths):
        yield f"encoded      already, in {paths.latents}"
    elif counts is None:
        yield f"space        {free}"
    else:
        size = amount(shards_bytes(config, counts.num_clips))
        yield f"encoded      {num_shards(config, counts.num_clips):,} shards, {size} in all; {free}"


def _source(config: RunConfig, paths: RunPaths) -> str:
    if config.streets is not None:
        return f"made up by the stage streets, in {paths.frames}"
    with readable(paths.frames):
        how = ", read in place" if paths.frames.is_file() else ""
    return f"{config.data.source}, from {paths.frames}{how}"
