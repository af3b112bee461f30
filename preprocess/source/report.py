"""What an index found, for people: in one line, as an error, or as a page of Markdown that names everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from preprocess.source.files import KINDS
from preprocess.source.index import Index
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import SPLITS

_MOST_FAULTS_SHOWN = 20


def summary(index: Index) -> str:
    """Clips by split and faults by kind, in one line."""
    clips = ", ".join(f"{split} {len(index.split(split)):,}" for split in SPLITS)
    kinds = Counter(fault.kind for fault in index.faults)
    faults = ", ".join(f"{kind} {kinds[kind]:,}" for kind in KINDS if kinds[kind])
    size = f"{index.num_files:,} files of {index.num_bytes / 1e9:.3g} GB"
    return f"{len(index.clips):,} clips ({clips}) in {size}; faults: {faults or 'none'}"


def require_clips(index: Index, source: Path, page: Path, skip_bad_clips: bool) -> None:
    """Refuse a source with faults, unless its bad clips are to be left out, and one without training clips.

    Raises:
        UserError: one line that names the faults, the first twenty of them in full.
    """
    if index.faults and not skip_bad_clips:
        shown = "; ".join(fault.text for fault in index.faults[:_MOST_FAULTS_SHOWN])
        left = len(index.faults) - _MOST_FAULTS_SHOWN
        more = f"; and {left} more" if left > 0 else ""
        count = "1 fault" if len(index.faults) == 1 else f"{len(index.faults)} faults"
        raise UserError(
            f"{count} in the frames of {source}: {shown}{more}; mend or remove these files (all are listed in {page}), "
            "or leave the clips out with data.skip_bad_clips=true"
        )
    if not index.split("train"):
        raise UserError(f"no training clip in the {len(index.clips)} of {source}; check data.root and data.source")


def markdown(index: Index, source: Path) -> str:
    """Everything: clips by split and city (or by the folder of a clip), faults by kind, what was left out."""
    return "\n".join(_lines(index, source)) + "\n"


def _lines(index: Index, source: Path) -> Iterator[str]:
    yield f"# Frames of {source}"
    yield ""
    yield f"{summary(index)}. Fingerprint {index.fingerprint}."
    yield ""
    yield "## Clips"
    yield ""
    yield "| split | group | clips | frames |"
    yield "|---|---|---:|---:|"
    for split in SPLITS:
        clips, frames = Counter[str](), Counter[str]()
        for clip in index.split(split):
            clips[clip.group] += 1
            frames[clip.group] += clip.num_frames
        for group in sorted(clips):
            yield f"| {split} | {group} | {clips[group]:,} | {frames[group]:,} |"
        yield f"| **{split}** | all | {clips.total():,} | {frames.total():,} |"
    for kind in KINDS:
        found = [fault.text for fault in index.faults if fault.kind == kind]
        if found:
            yield from ("", f"## Faults: {kind} ({len(found):,})", "", *(f"- {text}" for text in found))
    if index.left_out:
        yield from ("", f"## Left out ({len(index.left_out):,})", "", *(f"- {line}" for line in index.left_out))
