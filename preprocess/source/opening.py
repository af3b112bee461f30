"""Opening a source: its index is made without decoding a frame, and kept for the next process.

A kept index holds while the source's stamp does: an archive's size and time of change, or the times of change of a
folder's folders. A file of a folder that is rewritten in place changes neither; reading it then finds another size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from preprocess.source import cityscapes, image_folders, kept, report, videos
from preprocess.source.archive import version_of
from preprocess.source.files import FileStore, Listing, fingerprint_of
from preprocess.source.folder import Folder
from preprocess.source.index import Index, assemble
from preprocess.source.layout import Layout
from preprocess.source.tar_archive import TarArchive
from preprocess.source.zip_archive import ZipArchive
from preprocess.street_clips import require_complete
from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import SPLITS, RunConfig
from vdt_hpc.experiment.data_config import DataConfig
from vdt_hpc.experiment.paths import CITYSCAPES_TREE, TAR, ZIP, RunPaths
from vdt_hpc.store.frames_index import IndexCounts, index_path, index_recipe, report_path, write_counts

FORMAT = 1
"""Of a kept index; another one is made anew."""
LAYOUTS: dict[str, Callable[[FileStore, Listing, DataConfig], Layout]] = {
    "cityscapes": cityscapes.lay_out,
    "clips": image_folders.lay_out,
    "videos": videos.lay_out,
}
"""By `data.source`: what makes clips of a list of files."""
ARCHIVES: dict[str, type[ZipArchive | TarArchive]] = {ZIP: ZipArchive, TAR: TarArchive}
TOPS = {"cityscapes": CITYSCAPES_TREE}
"""By `data.source`: the folder within the source that alone is looked at."""


def open_store(config: RunConfig, path: Path) -> FileStore:
    """The folder or archive that a run's frames lie in; nothing in it is looked at.

    Raises:
        UserError: it is not there, or is no folder and no archive that can be read in place.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        remedy = "run the stage streets first" if config.streets else "name the right one with data.root=..."
        raise UserError(f"no frames: {path} does not exist; {remedy}")
    kind = ARCHIVES.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path} is no folder, no .zip and no .tar; unpack it, and set data.root")
    return kind(path, version_of(path))


def list_files(config: RunConfig, store: FileStore) -> Listing:
    """The files of a run's source.

    Raises:
        UserError: there are none where they must lie.
    """
    top = TOPS.get(config.data.source, "")
    try:
        listing = store.listing(top)
    except UserError as error:
        remedy = "run the stage streets first" if config.streets else "name the right folder with data.root=FOLDER"
        raise UserError(f"no frames: {error}; {remedy}") from None
    if not listing.files and not listing.faults:
        raise UserError(f"no frames: {store.path} holds no files{f' below {top}' if top else ''}; check data.root")
    return listing


def open_index(config: RunConfig, paths: RunPaths) -> Index:
    """The index of a run's source, from a kept one where that still holds, else made now.

    Raises:
        UserError: there is nothing to index.
    """
    if config.streets is not None:
        require_complete(paths.frames)
    store = open_store(config, paths.frames)
    recipe, path = index_recipe(config, paths), index_path(config, paths)
    found = _read_kept(path, store)
    if found is not None:
        return found
    listing = list_files(config, store)
    before = store.stamp(listing)
    index = assemble(listing, LAYOUTS[config.data.source](store, listing, config.data))
    if not listing.faults and store.stamp(listing) == before:  # what could not be looked at may be mended unnoticed
        stamp = store.stamp(listing, _watched(index))
        files.write_json(path, {"format": FORMAT, "recipe": recipe, "stamp": stamp} | kept.to_json(index, listing))
    return index


def source_fingerprint(config: RunConfig, paths: RunPaths) -> str | None:
    """Fingerprint of the source's files as they are now, or None where the source is not there."""
    return fingerprint_of(list_files(config, open_store(config, paths.frames)).files) if paths.frames.exists() else None


def _watched(index: Index) -> list[str]:
    """Files that may be mended in place."""
    return [fault.file for fault in index.faults if fault.file]


def write_report(config: RunConfig, index: Index, paths: RunPaths) -> Path:
    """Write the page of an index, and what it counts, beside it; returns where the page is."""
    path = report_path(config, paths)
    text = report.markdown(index, paths.frames)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        files.write_text(path, text)
    counts = {split: len(index.split(split)) for split in SPLITS}
    num_frames = sum(clip.num_frames for clip in index.clips)
    write_counts(
        config, paths, IndexCounts(counts, num_frames, index.num_files, index.num_bytes, len(index.faults))
    )  # fmt: skip
    return path


def _read_kept(path: Path, store: FileStore) -> Index | None:
    if not path.exists():
        return None
    try:
        content = files.read_json(path)
        if content.get("format") != FORMAT:
            return None
        listing = kept.listing_of(content)
        index = kept.index_of(content, listing, store)
        return index if store.stamp(listing, _watched(index)) == content["stamp"] else None
    except (
        UserError,
        KeyError,
        TypeError,
        ValueError,
    ):  # it is only a copy: whatever is wrong with it, it is made anew
        return None
