"""What the page shows of films and of the course of the training, as its template takes it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import film_frames, videos, wording
from results.by_frame import ByFrame
from results.by_time import ByTime
from results.course import OPEN, Part, Spent, spent
from results.film import UNKNOWN_HZ, Film
from results.metrics import base
from vdt_hpc.pictures import Picture

MOST_EMBEDDED_BYTES = 8 << 20
"""A larger video stays a file beside the page."""


@dataclass(frozen=True)
class DrawnFilm:
    """A film and what was made of it."""

    film: Film
    video: Path
    """MP4 file in a folder beside the page, if it could be written; a GIF of the same name lies beside it."""
    strip: Picture
    by_frame: tuple[ByFrame, Picture] | None
    """What was measured of it frame by frame, if anything was."""


def film(drawn: DrawnFilm) -> dict[str, Any]:
    """A film with its player and its strip."""
    one, video = drawn.film, drawn.video
    info = one.info
    task = wording.TASKS.get(info.task, info.task)
    clips = ", ".join(one.clip_ids)
    if info.given:
        frames = wording.frames(info.task, info.given, info.num_frames)
        marked = "given blocks have an orange outline, " if info.task == "completion" else ""
        strip = f"Truth above, sample below: {frames}; {marked}given frames have an orange border. Clips: {clips}."
        above = (
            "truth, sample and their difference from top to bottom (grey, plus sample less truth times "
            f"{film_frames.DIFFERENCE_GAIN})"
        )
    else:
        strip = f"One real clip ({one.clip_ids[0]}) above, samples below; they do not belong together."
        above = "real clips above, samples below; they do not belong together"
    rate = f"{one.rate_hz:g} frames a second, the rate of the data" if one.rate_hz else "frame rate not known"
    if one.rate_hz is None:
        rate += f", shown at {UNKNOWN_HZ:g} a second"
    content = video.read_bytes() if video.exists() else b""
    missing = "" if content else "No player: this installation of PyAV cannot write H.264."
    if len(content) > MOST_EMBEDDED_BYTES:
        missing, content = "The video is too large for this page.", b""
    beside = (video, video.with_suffix(".gif"))
    frames_shown = film_frames.FilmFrames(one)
    return {
        "title": f"{task} ({wording.way(info.sampler, info.num_steps)})",
        "num_frames": info.num_frames,
        "given": ",".join(map(str, info.given)),
        "made": "blocks generated" if info.task == "completion" else "generated",
        "rate_hz": videos.exact_rate(one.rate_hz or UNKNOWN_HZ),
        "video": data_uri(content, "video/mp4") if content else "",
        "no_video": missing,
        "video_width": frames_shown.width,
        "video_height": frames_shown.height,
        "video_alt": f"{len(one.clip_ids)} clips playing side by side: {above}",
        "video_caption": f"{len(one.clip_ids)} clips side by side: {above}; {rate}.",
        "files": [(path.suffix[1:].upper(), f"{path.parent.name}/{path.name}") for path in beside if path.exists()],
        "strip": figure(
            drawn.strip, f"Film strip of {len(one.clip_ids)} clips, frames from left to right. {strip}", strip
        ),
        "by_frame": _by_frame(*drawn.by_frame) if drawn.by_frame else None,
    }


def figure(picture: Picture, alt: str, caption: str) -> dict[str, str]:
    """A figure with what stands for it and under it."""
    return {"light": data_uri(picture.light), "dark": data_uri(picture.dark), "alt": alt, "caption": caption}


def by_time(measured: ByTime, picture: Picture) -> dict[str, str]:
    """Quality over sampling time, with a title of its own."""
    info = measured.comparison.model.first
    labels = wording.listed([base.find(name).label for name in measured.metrics])
    devices = wording.listed(list(dict.fromkeys(way.device for way in measured.ways)))
    steps = ", ".join(f"{wording.SAMPLERS[way.sampler]} {way.num_steps}" for way in measured.ways)
    text = f"{labels} over the seconds that a sample took on {devices}; numbers at the points are steps: {steps}"
    caption = (
        f"{text}. {info.num_clips} clips, protocol {measured.comparison.protocol}. The time is the median over the "
        "parts of a sample set, from noise to frames, decoding included."
    )
    task = wording.TASKS.get(info.task, info.task)
    shown = figure(picture, f"Quality over sampling time. {text}.", caption)
    return {"title": f"{task}: quality over sampling time", **shown}


def _by_frame(measured: ByFrame, picture: Picture) -> dict[str, str]:
    labels = wording.listed([base.find(name).label for name in measured.curves])
    info, several = measured.info, measured.info.counts.of_every_clip
    trajectories = f" and {several} trajectories" if several > 1 else ""
    text = f"{labels} at each generated frame, over {info.num_clips} clips{trajectories}"
    return figure(picture, f"Quality over the index of the frame. {text}", f"{text}.")


def timeline(parts: Sequence[Part], picture: Picture) -> dict[str, str]:
    """The timeline of the jobs."""
    jobs = f"{len(parts)} job{'s' if len(parts) > 1 else ''}"
    text = f"{jobs} on {wording.listed([*dict.fromkeys(part.lane for part in parts)])}; numbers are clips seen"
    if len(parts) > 1:
        text += "; dotted: between two jobs, most of it in the queue"
    return figure(picture, f"Timeline of the jobs that trained the run. {text}", f"{text}.")


def course(parts: Sequence[Part]) -> dict[str, Any]:
    """The table of what each partition took, and what to know of it."""
    rows = spent(parts)
    notes = ["Clips per hour count all clips that were trained, and the time from a job's start to its end."]
    if any(part.end is None and part.how != OPEN for part in parts):
        notes.append(
            "Nobody noted the end of a job that was killed: it lies between the last line that it left in the training "
            "log and the start of the next job, and hours are given as a range."
        )
    if any(part.how == OPEN for part in parts):
        notes.append("The last job has no end yet; its hours are counted up to its last line in the training log.")
    if any(row.unit == "task" for row in rows):
        notes.append("Task hours: what a task had for itself was not noted, as where a run trains without Slurm.")
    return {"rows": [_row(row) for row in rows], "notes": notes}


def _row(row: Spent) -> list[str]:
    least, most = row.clips_per_hour
    return [
        row.lane, f"{row.num_jobs}", f"{_range(row.least_hours, row.most_hours)} {row.unit} h", f"{row.clips:,}",
        f"{_range(least, most)} per {row.unit} h" if least or most else "–", f"{row.lost_clips:,}",
    ]  # fmt: skip


def _range(least: float | None, most: float | None) -> str:
    """`3.2`, `3.2 to 4.1`; or, where one bound is not known, `at least 3.2` or `at most 4.1`; one must be."""
    if least is None:
        assert most is not None
        return f"at most {_number(most)}"
    if most is None:
        return f"at least {_number(least)}"
    low, high = _number(least), _number(most)
    return low if low == high else f"{low} to {high}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def data_uri(content: bytes, kind: str = "image/webp") -> str:
    """Bytes as part of the page itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
