"""Opening a split for training: one copy in the memory of each node where it fits, else read clip by clip.

The first rank of each node is its leader: it decides, reads, and lets the others map its copy. While it reads, all
ranks meet every few seconds, so that a damaged shard, or a signal to any rank, ends the reading on all of them together
and no rank waits for long in one collective.
"""

import contextlib
import itertools
import json
import math
import mmap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from jobs import node_memory
from jobs.moments import ByClip, HalfArray, InMemory, Moments, Shape
from vdt_hpc.dist import ProcessGroup
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import Split
from vdt_hpc.progress import Progress
from vdt_hpc.stopping import Stopped
from vdt_hpc.store.latents import LatentSet, LatentSplit

SECONDS_BETWEEN_MEETINGS = 5.0
SHARE_OF_FREE = 0.5
MOMENTS_PER_CLIP = 2
"""Mean and standard deviation."""
NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class _Node:
    """The ranks that can share memory with this one: same host, same numbers of processes."""

    ranks: tuple[int, ...]
    num_on_host: int
    """Such groups of ranks on this host: more than one if ranks run in containers of their own."""

    @classmethod
    def of(cls, group: ProcessGroup) -> "_Node":
        own = json.dumps([node_memory.host_name(), node_memory.process_namespace()])
        names = group.gather_texts(own)
        hosts = Counter(json.loads(name)[0] for name in set(names))
        ranks = tuple(rank for rank, name in enumerate(names) if name == own)
        return cls(ranks, hosts[json.loads(own)[0]])


@dataclass(frozen=True)
class _Word:
    """What a rank says at a meeting; a rank that leads no node has only its stop to tell."""

    finished: bool = True
    stopped: bool = False
    fault: str = ""
    """One line for the user that ends the stage."""
    shape: Shape = (0, 0, 0, 0, 0, 0)
    place: str = ""
    """Where the leader's copy can be mapped; empty: there is none."""
    why_not: str = ""
    """Why the leader holds nothing in memory."""


def open_moments(
    latents: LatentSet, split: Split, group: ProcessGroup, memory_gb: float | None, stop: Callable[[], bool],
    num_clips: int | None = None,
) -> Moments:  # fmt: skip
    """Open a split; every rank must call it, and the same end, also an error, comes to all of them.

    Args:
        latents: the set, opened by this process.
        split: the split; all but training may be empty.
        group: the ranks.
        memory_gb: memory of one node in GB that the split may take; None: half of what is free.
        stop: asked before each clip that is read; true ends the reading.
        num_clips: limits the split to its first clips, which then come without flips.

    Raises:
        UserError: the training split is empty, or a shard cannot be read.
        Stopped: `stop` said so on some rank.
    """
    clips = latents.split(split)
    factor = latents.manifest.scaling_factor
    if not len(clips):
        if split == "train":
            raise UserError(
                f"the latents at {latents.folder} have no training clips; give the stage encode more frames"
            )
        nothing = np.empty((0, 1, 0, 0, 0, 0), np.float16)
        return InMemory(nothing, nothing, factor)
    node = _Node.of(group)
    leader = _Leader(clips, node, memory_gb, stop, num_clips) if group.task.rank == node.ranks[0] else None
    words = _meet(group, leader.words() if leader else itertools.repeat(_Word()), stop)
    word = words[node.ranks[0]]
    memory = leader.memory if leader else _attach(word, f"rank {group.task.rank}: {NAMES[split]} latents")
    holders = group.gather_texts("memory" if memory else "")  # also: nobody closes the copy before all have mapped it
    if leader:
        leader.close()
        how = _how(word, sum(bool(holders[rank]) for rank in node.ranks))
        print(
            f"{NAMES[split]} latents: {word.shape[0]:,} clips, {_megabytes(_num_bytes(word.shape))}, {how}", flush=True
        )
    if memory is None:
        return ByClip(clips, word.shape, factor)
    mean, std = _arrays(memory, word.shape)
    return InMemory(mean, std, factor)


class _Leader:
    """Decides for its node, and reads what it decided to hold.

    Args:
        clips: the split.
        node: whose leader this is.
        memory_gb, stop, num_clips: as for `open_moments`.
    """

    def __init__(
        self, clips: LatentSplit, node: _Node, memory_gb: float | None, stop: Callable[[], bool], num_clips: int | None
    ) -> None:
        self._clips, self._node, self._memory_gb = clips, node, memory_gb
        self._stop, self._num_clips = stop, num_clips
        self._file: node_memory.SharedFile | None = None
        self.memory: mmap.mmap | None = None
        """The copy; None: read clip by clip."""

    def words(self) -> Iterator[_Word]:
        """What to say at each meeting, for ever; what there is to do is done in between."""
        try:
            shape = self._shape()
            why_not = self._take(shape)
            if self.memory is not None:
                yield from self._read(shape, *_arrays(self.memory, shape))
            last = _Word(shape=shape, place=self._file.place if self._file else "", why_not=why_not)
        except UserError as error:
            last = _Word(fault=str(error))
        yield from itertools.repeat(last)

    def close(self) -> None:
        """All have mapped the copy who ever will."""
        if self._file:
            self._file.close()

    def _shape(self) -> Shape:
        flips, T, C, h, w = self._clips.clip_shape()
        if self._num_clips is None:
            return len(self._clips), flips, T, C, h, w
        return min(self._num_clips, len(self._clips)), 1, T, C, h, w

    def _take(self, shape: Shape) -> str:
        """Take memory for the copy; returns why not, or nothing."""
        needed = _num_bytes(shape)
        if self._memory_gb is None:
            limit, said = node_memory.free_bytes() * SHARE_OF_FREE, "half of what is free"
        else:
            limit, said = self._memory_gb * 1e9, "latents_memory_gb"
        limit /= self._node.num_on_host
        if needed > limit:
            return f"{_megabytes(needed)} do not fit into {_megabytes(limit)}, {said}"
        try:
            if len(self._node.ranks) == 1:
                self.memory = mmap.mmap(-1, needed)
            else:
                self._file = node_memory.SharedFile(needed)
                self.memory = self._file.memory
        except OSError as error:
            return f"the system gives no memory: {error}"
        return ""

    def _read(self, shape: Shape, mean: HalfArray, std: HalfArray) -> Iterator[_Word]:
        """Read all clips; comes back for a meeting now and then."""
        last_meeting = time.monotonic()
        with contextlib.ExitStack() as stack:
            progress: Progress | None = None  # shown once it has taken longer than one meeting
            for clip in range(shape[0]):
                if self._stop() or time.monotonic() - last_meeting > SECONDS_BETWEEN_MEETINGS:
                    yield _Word(finished=False)
                    last_meeting = time.monotonic()
                    progress = progress or stack.enter_context(Progress("read latents", shape[0], "clips", done=clip))
                self._clips.read_into(clip, mean[clip], std[clip])
                if progress:
                    progress.advance()


def _meet(group: ProcessGroup, words: Iterator[_Word], stop: Callable[[], bool]) -> list[_Word]:
    """Meet the other ranks until all have finished; returns the last word of each rank."""
    for word in words:
        text = json.dumps(asdict(word) | {"stopped": stop()})
        said = [_Word(**json.loads(text)) for text in group.gather_texts(text)]
        for other in said:
            if other.fault:
                raise UserError(other.fault)
        if any(other.stopped for other in said):
            raise Stopped
        if all(other.finished for other in said):
            return said
    raise AssertionError("words go on for ever")


def _attach(word: _Word, who: str) -> mmap.mmap | None:
    """The leader's copy, or None where there is none or it cannot be mapped, which is said."""
    if not word.place:
        return None
    try:
        return node_memory.attach(word.place)
    except OSError as error:
        print(f"{who} are read clip by clip: the copy of this node's first rank cannot be mapped ({error})", flush=True)
        return None


def _how(word: _Word, num_holders: int) -> str:
    if not num_holders:
        return f"read clip by clip ({word.why_not})"
    return "in memory" + (f" (shared by {num_holders} ranks)" if num_holders > 1 else "")


def _arrays(memory: mmap.mmap, shape: Shape) -> tuple[HalfArray, HalfArray]:
    """Means and standard deviations as views of the memory; it is let go with the last view."""
    mean, std = np.frombuffer(memory, np.float16).reshape(MOMENTS_PER_CLIP, *shape)
    return mean, std


def _num_bytes(shape: Shape) -> int:
    return MOMENTS_PER_CLIP * math.prod(shape) * np.dtype(np.float16).itemsize


def _megabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.0f} MB"
