"""What each stage reads: is it there, or does an earlier stage of the same command make it?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vdt_hpc.cluster import snapshot
from vdt_hpc.commands.checks.findings import Finding, fault, ok, warning
from vdt_hpc.commands.checks.measuring import look_at_metrics, look_at_protocols
from vdt_hpc.commands.checks.surroundings import Look, Surroundings
from vdt_hpc.commands.words import amount
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import weights
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import (
    CITYSCAPES_TREE,
    STREETS_COMPLETE,
    TAR,
    ZIP,
    RunPaths,
    checkout,
    user_path,
    weights_dir,
)
from vdt_hpc.experiment.signature import latents_signature, signature
from vdt_hpc.experiment.size import latents_bytes
from vdt_hpc.store.manifest import Manifest, read_manifest, require_manifest
from vdt_hpc.store.records import read_records
from vdt_hpc.store.sample_info import read_infos


def check_inputs(names: Sequence[str], where: Surroundings) -> Iterator[Finding]:
    """Look at everything that the stages read, once, and not at what an earlier one of them makes."""
    seen: set[Look] = set()
    for number, name in enumerate(names):
        for look in _looks(name, where):
            maker = MADE_BY.get(look)
            if look not in seen and maker not in names[:number]:
                seen.add(look)
                yield from _in_one_line(look, where)


def is_encoded(config: RunConfig, paths: RunPaths) -> bool:
    """Whether there is nothing to encode; latents that are damaged count, which the look at them tells."""
    try:
        manifest = read_manifest(paths.latents)
    except UserError:
        return True
    return manifest is not None and manifest.signature == latents_signature(config)


def _looks(name: str, where: Surroundings) -> tuple[Look, ...]:
    """What there is to look at for a stage; work that is finished needs nothing."""
    if name == "encode" and is_encoded(where.config, where.paths):
        return (look_at_latents,)
    if name == "train" and where.state.is_trained(where.config):
        return (look_at_checkpoint,)
    return NEEDS[name]


def _in_one_line(look: Look, where: Surroundings) -> Iterator[Finding]:
    subject = look.__name__.removeprefix("look_at_").replace("_", " ")
    try:
        yield from look(where)
    except UserError as error:
        yield fault(subject, str(error))
    except OSError as error:
        yield fault(subject, f"cannot read {error.filename}: {error.strerror}; choose a root that you may use")


def look_at_section(where: Surroundings) -> Iterator[Finding]:
    """Whether the run has made-up clips to make."""
    if where.config.streets is None:
        source = where.config.data.root
        yield fault("streets", f"run {where.config.name} takes its frames from {source}; it has no section streets")


def look_at_frames(where: Surroundings) -> Iterator[Finding]:
    """Whether the frames lie where the run says; their files are counted by the stage itself."""
    config, path = where.config, where.paths.frames
    if config.streets is None and (path.is_file() or path.suffix.lower() in (ZIP, TAR)) and not path.is_dir():
        yield _look_at_archive(config, path)
        return
    top = path / CITYSCAPES_TREE if config.data.source == "cityscapes" else path
    if not top.is_dir():
        remedy = "run the stage streets first" if config.streets else "name the right folder with data.root=FOLDER"
        yield fault("frames", f"no frames: the folder {top} does not exist; {remedy}")
    elif config.streets and not (path / STREETS_COMPLETE).exists():
        yield fault("frames", f"the street clips in {path} are not all there yet; run the stage streets again")
    elif not any(top.iterdir()):
        yield fault("frames", f"no frames: the folder {top} is empty; name the right folder with data.root=FOLDER")
    else:
        yield ok("frames", f"in {path}")


def _look_at_archive(config: RunConfig, path: Path) -> Finding:
    """Whether a source that is one file can be read in place; it is not opened."""
    if not path.exists():
        return fault("frames", f"no frames: the file {path} does not exist; name the right one with data.root=FILE")
    if path.suffix.lower() not in (ZIP, TAR):
        return fault("frames", f"{path} is no folder, no {ZIP} and no {TAR}; unpack it, and set data.root")
    if config.data.source == "videos":
        return fault("frames", f"videos are read from a folder, not from {path}; unpack it and set data.root")
    with path.open("rb"):  # an OSError is told for what it is
        num_bytes = path.stat().st_size
    if not num_bytes:
        return fault("frames", f"no frames: the file {path} is empty; copy it again")
    return ok("frames", f"in {path}, {amount(num_bytes)}, read in place")


def look_at_latents(where: Surroundings) -> Iterator[Finding]:
    """Whether the latents are there, whole by their sizes, and those that the run was trained on."""
    paths, newest = where.paths, where.state.newest
    wanted = newest.provenance.latents_fingerprint if newest else None
    if newest and read_manifest(paths.latents) is None:
        yield fault(
            "latents",
            f"no finished latents at {paths.latents}, and {newest.name} was trained on latents {wanted}: copy them "
            f"from where it was trained (rsync -a OTHER_CLUSTER:ROOT/latents/{paths.latents.name} "
            f"{paths.latents.parent}/), or run the stage encode first, which gives the same only on a like machine",
        )
        return
    manifest = require_manifest(where.config, paths)
    if fault_of := _fault_of_shards(where.config, paths.latents, manifest):
        yield fault("latents", fault_of)
    elif newest and wanted != manifest.fingerprint:
        yield fault(
            "latents",
            f"the latents at {paths.latents} are {manifest.fingerprint}, and {newest.path} was trained on {wanted}: "
            "copy those from where it was trained, or choose another name=... for this run",
        )
    else:
        num_clips = sum(shard.num_clips for shard in manifest.shards)
        yield ok("latents", f"{manifest.fingerprint}, {num_clips:,} clips in {paths.latents}")


def look_at_autoencoder(where: Surroundings) -> Iterator[Finding]:
    """Whether the autoencoder is on this machine, or can only come over the network."""
    source, folder = where.config.autoencoder.source, weights.autoencoder_folder(where.config.autoencoder)
    looked = " or ".join(str(each) for each in weights.autoencoder_folders(source))
    if folder:
        missing = [name for name in weights.AUTOENCODER_FILES if not (folder / name).is_file()]
        if missing:
            yield fault("autoencoder", weights.incomplete(folder, source, missing))
        else:
            yield ok("autoencoder", f"in {folder}")
    elif not weights.is_hub_name(source):
        yield fault("autoencoder", f"no autoencoder {source}: there is no folder {looked}; set autoencoder.source")
    elif weights.is_cached(source):
        yield ok("autoencoder", f"{source} is in the hub's local cache")
    elif weights.is_offline():
        yield fault(
            "autoencoder",
            f"no autoencoder {source}: {weights.nowhere(source, 'this machine is set offline and asks no network')}",
        )
    elif where.on_slurm or weights.is_in_job():
        yield fault("autoencoder", f"no autoencoder {source}: {weights.nowhere(source, 'jobs fetch nothing')}")
    else:
        yield ok("autoencoder", f"{source} will be fetched from the hub")


def look_at_initial_weights(where: Surroundings) -> Iterator[Finding]:
    """Whether the weights that the run begins with are here; once there is a checkpoint they are not read again."""
    source = where.config.init.from_
    if source is None or where.state.newest:
        return
    path = weights.initial_file(source)
    with path.open("rb"):  # an OSError is told for what it is
        num_bytes = path.stat().st_size
    if where.on_slurm and not _jobs_see(source, path, where.paths):
        yield fault(
            "initial weights",
            f"jobs run a copy of the code, and {path} is not in it: put it into {weights_dir()}, or give init.from as "
            "an absolute path",
        )
    else:
        yield ok("initial weights", f"{path}, {amount(num_bytes)}")


def look_at_checkpoint(where: Surroundings) -> Iterator[Finding]:
    """Whether there is a checkpoint to sample from."""
    state = where.state
    if state.fault:
        yield fault("checkpoint", state.fault)
    elif state.newest is None:
        yield fault("checkpoint", f"no valid checkpoint in {where.paths.checkpoints}; run the stage train first")
    else:
        yield ok("checkpoint", f"{state.newest.name} of {where.config.train.total_clips:,} clips")


def look_at_samples(where: Surroundings) -> Iterator[Finding]:
    """Whether there are samples of this run to measure."""
    found, damaged = read_infos(where.paths.samples)
    for line in damaged:
        yield warning("samples", line) if found else fault("samples", line)
    own = [info for info in found if info.run_signature == signature(where.config)]
    if not found and not damaged:
        yield fault("samples", f"no finished samples in {where.paths.samples}; run the stage sample first")
    elif found and not own:
        yield fault(
            "samples",
            f"the samples in {where.paths.samples} were made with other settings of this run; run the stage sample "
            "first",
        )
    elif own:
        yield ok("samples", f"{len(own)} set(s), the newest of {max(info.clips_seen for info in own):,} clips")


def look_at_records(where: Surroundings) -> Iterator[Finding]:
    """Whether there is something to report."""
    found = read_records(where.paths.records)
    if found:
        yield ok("records", f"{len(found)} in {where.paths.records}")
    else:
        yield fault("records", f"no records of this run in {where.paths.records}; run the stage evaluate first")


NEEDS: dict[str, tuple[Look, ...]] = {
    "streets": (look_at_section,),
    "autoencoder": (look_at_frames,),
    "index": (look_at_frames,),
    "encode": (look_at_frames, look_at_autoencoder),
    "verify": (look_at_latents,),  # frames and autoencoder that are not here leave a part unchecked, which it says
    "train": (look_at_latents, look_at_initial_weights),
    "sample": (look_at_checkpoint, look_at_latents, look_at_autoencoder, look_at_protocols),
    "evaluate": (look_at_samples, look_at_latents, look_at_autoencoder, look_at_metrics),
    "report": (look_at_records,),
    "compare": (),
}
"""Stage -> what it reads."""
MADE_BY: dict[Look, str] = {
    look_at_frames: "streets",
    look_at_autoencoder: "autoencoder",
    look_at_latents: "encode",
    look_at_checkpoint: "train",
    look_at_samples: "sample",
    look_at_records: "evaluate",
}
"""Look -> the stage that makes what is looked at."""


def _jobs_see(source: str, path: Path, paths: RunPaths) -> bool:
    """True if a job finds a file of initial weights where this process has found it."""
    is_absolute = user_path(source, checkout()) == user_path(source, weights_dir())
    if is_absolute or path.is_relative_to(weights_dir()):
        return True
    copied = snapshot.plan(paths).sources  # none where this process runs the copy itself
    return not copied or path.relative_to(checkout()) in copied


def _fault_of_shards(config: RunConfig, folder: Path, manifest: Manifest) -> str:
    """What is wrong with the files that the manifest names, in one line, by their sizes; empty if nothing is."""
    for shard in manifest.shards:
        path, least = folder / shard.file, shard.num_clips * latents_bytes(config, shard.split)
        if not path.is_file():
            return f"the shard {path} is missing; copy it again, or remove {folder} and run the stage encode"
        if path.stat().st_size < least:
            return (
                f"the shard {path} has {path.stat().st_size:,} bytes, its {shard.num_clips} clips need {least:,}: copy "
                f"it again, or remove {folder} and run the stage encode"
            )
    return ""
