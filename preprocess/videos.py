"""The index of a folder of video files, cut into consecutive clips.

Where the folder has sub-folders train, val or test, these are the splits. Otherwise the last clips of each video are
test clips, the ones before them validation clips, and the rest training clips.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from preprocess.frames import ByteArray, Clip
from preprocess.source_files import SourceFile
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import SPLITS, Split
from vdt_hpc.experiment.data_config import DataConfig

if TYPE_CHECKING:
    import av

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm")


@dataclass(frozen=True)
class VideoClip(Clip):
    """Consecutive frames of a video file."""

    path: Path
    first_frame: int
    first_pts: int | None
    """Time stamp of the first frame, in the stream's own units; None where the file has no reliable ones."""

    def images(self) -> Iterator[ByteArray]:
        """The frames one by one, each (H, W, 3); see ``Clip.images``."""
        import av

        try:
            with av.open(str(self.path)) as container:
                for frame in self._frames(container):
                    yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        except av.error.FFmpegError as error:
            raise UserError(f"cannot decode {self.path}: {error}; replace the file") from None

    def _frames(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
        stream = container.streams.video[0]
        if self.first_pts is not None:
            container.seek(self.first_pts, stream=stream, backward=True)
            decoded = container.decode(stream)
            frame = next(decoded, None)
            if frame is not None and frame.pts is not None and frame.pts <= self.first_pts:
                while frame is not None and (frame.pts is None or frame.pts < self.first_pts):
                    frame = next(decoded, None)
                for _ in range(self.num_frames):
                    if frame is None:
                        return
                    yield frame
                    frame = next(decoded, None)
                return
            container.seek(0, stream=stream, backward=True)  # the file cannot be searched: count from its beginning
        for number, frame in enumerate(container.decode(stream)):
            if number >= self.first_frame + self.num_frames:
                return
            if number >= self.first_frame:
                yield frame


def index_videos(folder: Path, files: Iterable[SourceFile], data: DataConfig) -> tuple[list[Clip], list[str]]:
    """Cut the videos of a folder into clips.

    Returns:
        The clips, and one line for each remainder or file that is not used.

    Raises:
        UserError: a file cannot be opened as a video, or there is no video at all.
    """
    clips: list[Clip] = []
    left_out: list[str] = []
    splits_are_folders = any((folder / split).is_dir() for split in SPLITS)
    num_videos = 0
    for file in files:
        if Path(file.name).suffix.lower() not in SUFFIXES:
            left_out.append(f"{file.name}: no video file ({', '.join(SUFFIXES)})")
            continue
        num_videos += 1
        top = file.name.split("/")[0]
        if splits_are_folders and top not in SPLITS:
            left_out.append(f"{file.name}: lies outside the folders {', '.join(SPLITS)}")
            continue
        stamps, num_frames = _time_stamps(folder / file.name)
        num_clips, remainder = divmod(num_frames, data.frames_per_clip)
        if remainder:
            left_out.append(f"{file.name}: the last {remainder} of {num_frames} frames do not fill a clip")
        for number in range(num_clips):
            split = SPLITS[SPLITS.index(top)] if splits_are_folders else _split_of(number, num_clips, data)
            first = number * data.frames_per_clip
            clip_id = f"{file.name.replace('/', '_')}_{first:06d}"
            pts = None if stamps is None else stamps[first]
            clips.append(VideoClip(clip_id, split, data.frames_per_clip, folder / file.name, first, pts))
    if not num_videos:
        raise UserError(f"no video file ({', '.join(SUFFIXES)}) under {folder}; check data.root and data.source")
    return clips, left_out


def _split_of(number: int, num_clips: int, data: DataConfig) -> Split:
    """Split of one clip of a video: the last ones are test, the ones before them validation."""
    from_end = num_clips - 1 - number
    if from_end < data.test_clips_per_video:
        return "test"
    return "val" if from_end < data.test_clips_per_video + data.val_clips_per_video else "train"


def _time_stamps(path: Path) -> tuple[list[int] | None, int]:
    """Time stamps of a video's frames in the order of showing, and their number, from the packets alone.

    The stamps are None where a packet has none or two share one (some AVI files).
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path} has no picture; remove it from the folder")
            packets = container.demux(container.streams.video[0])
            stamps = [packet.pts for packet in packets if packet.size and not packet.is_discard]
    except av.error.FFmpegError as error:
        raise UserError(f"cannot open {path} as a video: {error}; replace or remove it") from None
    known = [stamp for stamp in stamps if stamp is not None]
    if len(set(known)) != len(stamps):
        return None, len(stamps)
    return sorted(known), len(stamps)
