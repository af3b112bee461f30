"""Clips of image files, from any folder or archive, and a look at the files' headers before any of them is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

from preprocess.frames import ByteArray, Clip
from preprocess.images import PREFIX_BYTES, BadFrame, decode, frame_size
from preprocess.source.files import Fault, FileStore, SourceFile, Unreadable
from vdt_hpc.errors import UserError
from vdt_hpc.pool import map_ahead
from vdt_hpc.progress import Progress

READERS = 16
"""Files whose headers are waited for at once: on the file systems of clusters, waiting is most of it."""

Size = tuple[int, int]
"""Height and width, in pixels."""


@dataclass(frozen=True)
class ImageClip(Clip):
    """A clip of image files."""

    store: FileStore
    files: tuple[SourceFile, ...]

    @property
    def group(self) -> str:
        """The name of the frames' folder: Cityscapes' city."""
        return PurePosixPath(self.files[0].name).parent.name

    def images(self) -> Iterator[ByteArray]:
        """The frames one by one, each (H, W, 3); see ``Clip.images``."""
        for file in self.files:
            where = self.store.where(file)
            try:
                content = self.store.read(file)
            except Unreadable as error:
                raise UserError(f"cannot read the frame {where}: it {error}; replace the file") from None
            yield decode(content, where)


def sizes(store: FileStore, files: Sequence[SourceFile]) -> dict[str, Size | Fault]:
    """The size of each image by name, or what is wrong with the file, as far as its first bytes tell."""

    def look(file: SourceFile) -> Size | Fault:
        try:
            return frame_size(store.read_start(file, PREFIX_BYTES[PurePosixPath(file.name).suffix.lower()]))
        except Unreadable as error:
            return Fault("unreadable", f"{file.name} {error}", file.name)
        except BadFrame as fault:
            return Fault("unreadable", f"{file.name}: {fault.reason}", file.name)

    found: dict[str, Size | Fault] = {}
    with ThreadPoolExecutor(READERS) as pool, Progress("look at headers", len(files), "files") as progress:
        for file, seen in zip(files, map_ahead(pool, look, files, ahead=4 * READERS), strict=True):
            found[file.name] = seen
            progress.advance()
    return found


def foreign(found: Mapping[str, Size | Fault]) -> dict[str, Fault]:
    """Files of another size than most."""
    counts = Counter(size for size in found.values() if not isinstance(size, Fault))
    if len(counts) < 2:
        return {}
    (height_px, width_px), _ = counts.most_common(1)[0]
    return {
        name: Fault("foreign size", f"{name} has {size[1]} x {size[0]} px, the others {width_px} x {height_px}", name)
        for name, size in found.items()
        if not isinstance(size, Fault) and size != (height_px, width_px)
    }
