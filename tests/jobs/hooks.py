"""Pauses that tests put into a rank (`before=` of `Ranks`), so that something happens at a known moment.

A paused rank leaves a file beside its log, and waits until the test has made the file `go` there.
"""

import ctypes
import errno
import hashlib
import os
import threading
import time
from pathlib import Path

import torch

from jobs import gradients, loop, measuring, opening, saver, trainer, validation
from vdt_hpc import files
from vdt_hpc.store import checkpoint, checkpoint_writing, latents


def rank():
    return int(os.environ.get("SUBMITIT_LOCAL_GLOBALID", "0"))


def folder():
    """Where this rank's log lies."""
    return Path("/proc/self/fd/1").readlink().parent


def arrive(name):
    """Leave a file that says where this rank is; it holds the kernel's numbers of the threads that prepare examples."""
    threads = [thread.native_id for thread in threading.enumerate() if thread.name.startswith("examples")]
    (folder() / f"{rank()}.{name}").write_text(" ".join(map(str, threads)))


def wait_for_go(seconds=60):
    deadline = time.monotonic() + seconds
    while not (folder() / "go").exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def first(owner, name, act):
    """Do something before every call of a method."""
    whole = getattr(owner, name)

    def wrapped(*arguments, **options):
        act(*arguments)
        return whole(*arguments, **options)

    setattr(owner, name, wrapped)


def pause_at(name, number=1, when=lambda *arguments: True):
    """What pauses at the `number`-th call for which `when` holds."""
    calls = []

    def act(*arguments):
        if when(*arguments):
            calls.append(name)
            if len(calls) == number:
                arrive(name)
                wait_for_go()

    return act


def reading():
    """Pause before the first clip is read; the ranks meet before every clip."""
    opening.SECONDS_BETWEEN_MEETINGS = 0
    first(latents.LatentSplit, "read_into", pause_at("reading"))


def training():
    """Pause in the second update."""
    first(trainer.Trainer, "gradients", pause_at("training", 2))


def validating():
    """Pause in the first validation."""
    first(validation.Validation, "_add", pause_at("validating"))


def ending():
    """Pause in the last validation, at the end of the run."""
    at_end = []

    def look(measuring_, here, log):
        if here >= measuring_._config.train.total_clips:
            at_end.append(True)

    first(measuring.Measuring, "_validate", look)
    first(validation.Validation, "_add", pause_at("ending", when=lambda *_: bool(at_end)))


def writing():
    """Pause in the background, before the first share is written, and in the update after; then write slowly."""
    saving = []

    def write(*_):
        arrive("writing")
        wait_for_go()
        time.sleep(0.2)

    first(saver.Saver, "start", lambda *_: saving.append(True))
    first(trainer.Trainer, "gradients", lambda *_: wait_for_go() if saving else None)
    first(checkpoint_writing, "write_share", write)


def at_240():
    """Rank 0 pauses at the first update after the checkpoint at clip 240 has been published."""
    _pause_once_saved("at_240", 240)


def at_480():
    """As `at_240`, later."""
    _pause_once_saved("at_480", 480)


def _pause_once_saved(name, clips):
    def saved(looping, *_):
        return rank() == 0 and (looping._paths.checkpoints / checkpoint.folder_name(clips)).exists()

    first(loop.TrainingLoop, "_one_update", pause_at(name, when=saved))


def publishing():
    """Rank 0's background thread pauses as it publishes clip 240: the lease has been looked at, the rename is next."""
    whole = checkpoint_writing.publish

    def publish(staging, provenance, marks, check):
        def checked():
            check()
            if provenance.clips_seen == 240:
                arrive("publishing")
                wait_for_go()

        return whole(staging, provenance, marks, checked)

    checkpoint_writing.publish = publish


def logging():
    """Rank 0 pauses as it begins the log anew: what is in it is on the disk, the look at the lease is next."""
    first(files, "flush", pause_at("logging", when=lambda path: path.name.startswith(".progress.jsonl")))


def nan_once_on_rank_1():
    """The gradient of rank 1 is not a number in the third update."""
    _poison(lambda number: rank() == 1 and number == 3)


def nan_from_the_fifth_on_rank_1():
    """The gradient of rank 1 is not a number from the fifth update on."""
    _poison(lambda number: rank() == 1 and number >= 5)


def _poison(when):
    """Put a NaN into the gradient as a backward pass leaves it, before the ranks' gradients are summed."""
    updates = []
    first(trainer.Trainer, "gradients", lambda *_: updates.append(None))

    def poison(model, inputs, output):
        if when(len(updates)) and output.requires_grad:
            output.register_hook(lambda gradient: gradient * float("nan"))

    _on_forward(poison)


def infinite_weight():
    """A weight becomes infinite after the seventh update, in the middle between two checkpoints."""
    updates = []
    whole = trainer.Trainer.update

    def update(training, *arguments):
        whole(training, *arguments)
        updates.append(None)
        if len(updates) == 7:
            next(training.model.parameters()).data.view(-1)[0] = float("inf")

    trainer.Trainer.update = update


def no_memory_forward():
    """On rank 1, more than one clip does not pass the model."""

    def refuse(model, inputs, output):
        if rank() == 1 and len(inputs[0]) > 1:
            raise torch.OutOfMemoryError("injected")

    _on_forward(refuse)


def no_memory_backward():
    """On rank 1, no two clips pass the backward pass: its last part fails, when buckets are on their way."""
    small_buckets()
    summing, num_clips = [], [0]
    first(trainer.Trainer, "gradients", lambda training, *_: summing.append(training._gradients))

    def fail(gradient):
        if num_clips[0] > 1:
            sent = [bucket._work is not None for bucket in summing[-1]._buckets]
            print(f"no memory for {num_clips[0]} clips, {sum(sent)} of {len(sent)} buckets sent", flush=True)
            raise torch.OutOfMemoryError("injected")

    def remember(model, inputs, output):
        if not num_clips[0] and rank() == 1:
            next(model.parameters()).register_hook(fail)
        num_clips[0] = len(inputs[0])

    _on_forward(remember)


def no_memory_at_all():
    """On rank 1, not even one clip passes the model from the fourth update on."""
    updates = []
    first(trainer.Trainer, "gradients", lambda *_: updates.append(None))

    def refuse(model, inputs, output):
        if rank() == 1 and len(updates) >= 4:
            raise torch.OutOfMemoryError("injected")

    _on_forward(refuse)


def small_buckets():
    """Several buckets of gradients, and nothing that goes wrong."""
    gradients.GradientSum.__init__.__defaults__ = (8_000,)


def _on_forward(hook):
    """Call a forward hook of every trainer's model; at the end, every rank leaves a hash of its weights."""
    whole = trainer.Trainer.__init__

    def init(training, *arguments):
        whole(training, *arguments)
        training.model.register_forward_hook(hook)

    def leave(looping, *_):
        weights = looping._trainer.model.state_dict().values()
        digest = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in weights))
        (folder() / f"{rank()}.weights").write_text(digest.hexdigest())

    trainer.Trainer.__init__ = init
    first(loop.TrainingLoop, "_result", leave)


def second_save_full_on_rank_1():
    """Rank 1 finds the disk full when it writes its share of the second checkpoint."""
    written = []

    def write(*_):
        written.append(None)
        if rank() == 1 and len(written) > len(checkpoint.PARTS):
            raise OSError(errno.ENOSPC, "No space left on device")

    first(checkpoint_writing, "write_tensors", write)


def without_privileges():
    """Give up what lets root use files in spite of their permissions: the first capabilities of capabilities(7)."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for effective in (0, 3):
        sets[effective] = 0
    assert libc.capset(header, sets) == 0
