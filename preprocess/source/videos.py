"""A folder of video files, cut into consecutive clips.

Where the folder has sub-folders train, val or test, these are the splits. Otherwise the last clips of each video are
test clips, the ones before them validation clips, and the rest training clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from preprocess.frames import ByteArray, Clip
from preprocess.source.files import Fault, FileStore, Listing
from preprocess.source.folder import Folder
from preprocess.source.layout import Layout, split_folder, split_of
from preprocess.source.numbering import nearest
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import SPLITS
from vdt_hpc.experiment.data_config import DataConfig
from vdt_hpc.progress import Progress

if TYPE_CHECKING:
    import av

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm")


@dataclass(frozen=True)
class VideoClip(Clip):
    """Frames of a video file."""

    path: Path
    first_frame: int
    first_pts: int | None
    """Time stamp of the first frame, in the stream's own units; None where the file has no reliable ones."""
    offsets: tuple[int, ...]
    """Of the clip's frames behind the first, in frames of the file; rising, and repeated where one is taken twice."""

    @property
    def group(self) -> str:
        """The name of the video."""
        return self.path.name

    def images(self) -> Iterator[ByteArray]:
        """The frames one by one, each (H, W, 3); see ``Clip.images``."""
        import av

        try:
            with av.open(str(self.path)) as container:
                for offset, frame in enumerate(self._frames(container)):
                    if times := self.offsets.count(offset):
                        yield from [frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)] * times
        except av.error.FFmpegError as error:
            raise UserError(f"cannot decode {self.path}: {error}; replace the file") from None

    def _frames(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
        """The file's frames from the first to the last that is wanted."""
        stream, span = container.streams.video[0], self.offsets[-1] + 1
        if self.first_pts is not None:
            container.seek(self.first_pts, stream=stream, backward=True)
            decoded = container.decode(stream)
            frame = next(decoded, None)
            if frame is not None and frame.pts is not None and frame.pts <= self.first_pts:
                while frame is not None and (frame.pts is None or frame.pts < self.first_pts):
                    frame = next(decoded, None)
                for _ in range(span):
                    if frame is None:
                        return
                    yield frame
                    frame = next(decoded, None)
                return
            container.seek(0, stream=stream, backward=True)  # the file cannot be searched: count from its beginning
        for number, frame in enumerate(container.decode(stream)):
            if number >= self.first_frame + span:
                return
            if number >= self.first_frame:
                yield frame


def lay_out(store: FileStore, listing: Listing, data: DataConfig) -> Layout:
    """Cut the videos of a folder into clips.

    Raises:
        UserError: there is no video, or they are not in a folder.
    """
    if not isinstance(store, Folder):
        raise UserError(f"videos are read from a folder, not from {store.path}; unpack it and set data.root")
    layout = Layout()
    splits_are_folders = any((store.path / split).is_dir() for split in SPLITS)
    num_videos = 0
    with Progress("look at videos", len(listing.files), "files") as progress:
        for file in listing.files:
            progress.advance()
            if Path(file.name).suffix.lower() not in SUFFIXES:
                layout.left_out.append(f"{file.name}: no video file ({', '.join(SUFFIXES)})")
                continue
            num_videos += 1
            if splits_are_folders and split_folder(file.name) is None:
                layout.left_out.append(f"{file.name}: lies outside the folders {', '.join(SPLITS)}")
                continue
            _cut(store, file.name, data, layout)
    if not num_videos:
        raise UserError(f"no video file ({', '.join(SUFFIXES)}) under {store.path}; check data.root and data.source")
    return layout


def _cut(store: Folder, name: str, data: DataConfig, layout: Layout) -> None:
    """Add the clips of one video, or its fault."""
    timing = _timing(store.path / name)
    if isinstance(timing, str):
        layout.faults.append(Fault("unreadable", f"cannot open {store.path / name} as a video: {timing}", name))
        return
    T = data.frames_per_clip
    chosen = (
        list(range(timing.num_frames)) if data.frame_rate_hz is None else nearest(timing.times_s, data.frame_rate_hz)
    )
    num_clips, remainder = divmod(len(chosen), T)
    if remainder:
        layout.left_out.append(f"{name}: the last {remainder} of {len(chosen)} frames do not fill a clip")
    for number in range(num_clips):
        taken = chosen[number * T : (number + 1) * T]
        first = taken[0]
        split = split_folder(name) or split_of(number, num_clips, data)
        clip_id = f"{name.replace('/', '_')}_{number * T:06d}"
        pts = None if timing.stamps is None else timing.stamps[first]
        offsets = tuple(frame - first for frame in taken)
        layout.clips.append(VideoClip(clip_id, split, T, store.path / name, first, pts, offsets))


@dataclass(frozen=True)
class _Timing:
    """When a video's frames are shown."""

    num_frames: int
    stamps: list[int] | None
    """In the order of showing, in the stream's own units; None where a packet has none or two share one (some AVI)."""
    times_s: list[float]


def _timing(path: Path) -> _Timing | str:
    """From the packets alone, without decoding; or what is wrong with the file."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                return "it has no picture"
            stream = container.streams.video[0]
            stamps = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
            base_s, rate_hz = stream.time_base, stream.average_rate
    except av.error.FFmpegError as error:
        return str(error)
    known = sorted(stamp for stamp in stamps if stamp is not None)
    if not stamps:
        return "it has no frames"
    if len(set(known)) == len(stamps) and base_s:
        return _Timing(len(stamps), known, [float(stamp * base_s) for stamp in known])
    seconds = 1 / float(rate_hz or 25)
    return _Timing(len(stamps), None, [number * seconds for number in range(len(stamps))])
