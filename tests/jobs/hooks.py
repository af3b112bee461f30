"""Pauses that tests put into a rank (`before=` of `Ranks`), so that something happens at a known moment.

A paused rank leaves a file beside its log, and waits until the test has made the file `go` there.
"""

import os
import threading
import time
from pathlib import Path

from jobs import loop, opening, saver, trainer, validation
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

    def look(looking):
        if looking._clips_seen >= looking._config.train.total_clips:
            at_end.append(True)

    first(loop.TrainingLoop, "_look", look)
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
