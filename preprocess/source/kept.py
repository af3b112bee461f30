"""An index as JSON, for the next process: files once, clips by the numbers of their files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from preprocess.frames import Clip
from preprocess.source.files import Fault, FileStore, Listing, SourceFile
from preprocess.source.image_clips import ImageClip
from preprocess.source.index import Index
from preprocess.source.videos import VideoClip


def to_json(index: Index, listing: Listing) -> dict[str, Any]:
    """What `listing_of` and `index_of` read."""
    numbers = {file.name: number for number, file in enumerate(listing.files)}
    return {
        "fingerprint": index.fingerprint,
        "files": [[file.name, file.num_bytes, *file.place] for file in listing.files],
        "clips": [_clip_to_json(clip, numbers) for clip in index.clips],
        "faults": [asdict(fault) for fault in index.faults],
        "left_out": index.left_out,
    }


def listing_of(content: dict[str, Any]) -> Listing:
    """The files, again."""
    return Listing(tuple(SourceFile(name, size, tuple(place)) for name, size, *place in content["files"]), ())


def index_of(content: dict[str, Any], listing: Listing, store: FileStore) -> Index:
    """The index, again, of files in a store."""
    return Index(
        clips=tuple(_clip_of(clip, listing, store) for clip in content["clips"]),
        fingerprint=content["fingerprint"],
        faults=tuple(Fault(**fault) for fault in content["faults"]),
        left_out=tuple(content["left_out"]),
        num_files=len(listing.files),
        num_bytes=sum(file.num_bytes for file in listing.files),
    )


def _clip_to_json(clip: Clip, numbers: dict[str, int]) -> dict[str, Any]:
    shared = {"clip_id": clip.clip_id, "split": clip.split, "num_frames": clip.num_frames}
    if isinstance(clip, ImageClip):
        return shared | {"files": [numbers[file.name] for file in clip.files]}
    assert isinstance(clip, VideoClip), "a new kind of clip says here how it is kept"
    own = {"first_frame": clip.first_frame, "first_pts": clip.first_pts, "offsets": clip.offsets}
    return shared | {"path": str(clip.path)} | own


def _clip_of(content: dict[str, Any], listing: Listing, store: FileStore) -> Clip:
    if "files" in content:
        files = tuple(listing.files[number] for number in content["files"])
        return ImageClip(content["clip_id"], content["split"], content["num_frames"], store, files)
    return VideoClip(**content | {"path": Path(content["path"]), "offsets": tuple(content["offsets"])})
