"""The checkpoint that all tasks of a launch of the stage `sample` take, whenever each of them looks.

The first task of a launch writes down what it chose; the others, and its restarts, go by that. A launch goes on with
what an earlier one has begun with the same settings; where there is nothing to go on with, it takes the newest valid
checkpoint.
"""

import hashlib
import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vdt_hpc.dist import Task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.signature import signature
from vdt_hpc.processes import state_and_start
from vdt_hpc.store import checkpoint
from vdt_hpc.store.checkpoint import Checkpoint, Damaged
from vdt_hpc.store.chosen import Choice, Choices
from vdt_hpc.store.sample_info import SampleInfo
from vdt_hpc.store.samples import is_finished, missing_parts


def launch_of(task: Task) -> str:
    """Name of the launch that a task belongs to: one for all tasks of a job or of its array, and after its restarts."""
    job, _, _ = task.job_id.rpartition("-")
    if not job:  # outside any launcher each call stands alone
        return uuid.uuid4().hex
    if os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
        return f"{os.environ.get('SLURM_CLUSTER_NAME', '')}-{job.partition('_')[0]}"
    found = state_and_start(int(job))
    started_ticks = found[1] if found else ""  # tells a process from a later one with the same number
    return f"{socket.gethostname()}-{job}-{started_ticks}"


class Chooser:
    """Chooses for one task.

    Args:
        config, paths: of the run.
        wanted: the sample sets to be made, whatever they name as their checkpoint.
        task: this process.
    """

    def __init__(self, config: RunConfig, paths: RunPaths, wanted: Sequence[SampleInfo], task: Task) -> None:
        self._paths, self._signature = paths, signature(config)
        self._wanted = [replace(info, checkpoint="", clips_seen=0) for info in wanted]
        self._launch = launch_of(task)
        settings = "\n".join(info.name for info in self._wanted)
        self._choices = Choices(paths.sampling, hashlib.sha256(settings.encode()).hexdigest()[:8])
        self._verified: dict[str, Checkpoint] = {}

    def choose(self) -> tuple[list[SampleInfo], Checkpoint | None]:
        """The sets of this launch's checkpoint, and the checkpoint, verified; None: they are finished.

        Raises:
            UserError: no valid checkpoint, or one that this launch has begun to sample from is damaged or gone.
        """
        while True:
            made = self._choices.read()
            own = self._own(made)
            if own and self._is_finished(own):
                return self._of(own), None
            if own and not self._fault(own):
                return self._of(own), self._verified[own]
            if own:
                self._give_up(own)
            begun = self._begun_before(made[max(made)].checkpoint) if made and not own else None
            choice = Choice(begun or self._newest(), self._launch)
            if self._choices.add(max(made, default=0) + 1, choice) and begun:
                print(
                    f"going on with the samples that an earlier launch began from {begun}; the next launch takes the "
                    "newest checkpoint", flush=True,
                )  # fmt: skip

    def is_chosen(self, chosen: Checkpoint) -> bool:
        """Whether this launch still samples from a checkpoint: another task of it may have found that one gone."""
        return self._own(self._choices.read()) == chosen.name

    def forget(self, chosen: Checkpoint) -> None:
        """Look anew at a checkpoint that was whole when it was verified, and is not any more."""
        self._verified.pop(chosen.name, None)

    def _own(self, made: dict[int, Choice]) -> str | None:
        return next((one.checkpoint for one in reversed(made.values()) if one.launch == self._launch), None)

    def _give_up(self, own: str) -> None:
        """Let go of this launch's checkpoint, which cannot be loaded: other tasks of it may be sampling from it.

        Raises:
            UserError: some of them have finished parts.
        """
        told = f"the checkpoint {self._paths.checkpoints / own} {self._fault(own)}"
        if self._half_made(own):
            raise UserError(
                f"{told}, and this launch has begun to sample from it; put it back, or run the stage sample again to "
                "begin with another one"
            )
        print(f"{told}, and no set from it is half made: another is chosen", flush=True)

    def _begun_before(self, name: str) -> str | None:
        """The checkpoint of an earlier launch, if there is something to go on with."""
        if self._is_finished(name) or not self._is_begun(name):
            return None
        fault = self._fault(name)
        if fault:
            folders = ", ".join(self._half_made(name)) or "others"
            print(
                f"the checkpoint {self._paths.checkpoints / name} {fault}; the samples from it stay unfinished: "
                f"{folders}", flush=True,
            )  # fmt: skip
        return None if fault else name

    def _newest(self) -> str:
        folder = self._paths.checkpoints
        found = checkpoint.newest(folder, self._signature, verify=False, say=_silent)
        if found and not self._is_finished(found.name):
            found = checkpoint.newest(folder, self._signature)
            self._verified |= {found.name: found} if found else {}
        if found is None:
            raise UserError(f"no valid checkpoint in {folder}; run the stage train first")
        return found.name

    def _fault(self, name: str) -> str:
        """Why a checkpoint cannot be loaded; empty: it was verified.

        Raises:
            UserError: it belongs to another run.
        """
        path = self._paths.checkpoints / name
        try:
            if name not in self._verified:
                self._verified[name] = checkpoint.require(path, self._signature)
        except Damaged as damage:
            return f"is damaged ({damage})" if path.exists() else "is gone"
        return ""

    def _of(self, name: str) -> list[SampleInfo]:
        clips_seen = checkpoint.clips_in_name(Path(name))
        return [replace(info, checkpoint=name, clips_seen=clips_seen) for info in self._wanted]

    def _sets(self, name: str) -> list[tuple[Path, SampleInfo]]:
        return [(self._paths.samples / info.name, info) for info in self._of(name)]

    def _is_finished(self, name: str) -> bool:
        return all(is_finished(*one) for one in self._sets(name))

    def _is_begun(self, name: str) -> bool:
        return any(_has_parts(*one) for one in self._sets(name))

    def _half_made(self, name: str) -> list[str]:
        """Folders of the sets that are begun and not finished."""
        return [str(one[0]) for one in self._sets(name) if _has_parts(*one) and not is_finished(*one)]


def _has_parts(folder: Path, info: SampleInfo) -> bool:
    return len(missing_parts(folder, info)) < info.num_parts()


def _silent(line: str) -> None:
    """The line is said again when the checkpoint is verified."""
