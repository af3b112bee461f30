"""Two trainings of the same run, one undisturbed and one killed and resumed, compared by what they left on the disk."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vdt_hpc import files
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.store import checkpoint, ledger

LIMIT = 1e-5
"""Largest relative difference of a loss for which two trainings on GPUs count as the same: kernels may add in another
order each time. Losses are logged to 7 digits."""


@dataclass(frozen=True)
class Trace:
    """What one training left."""

    losses: Mapping[int, float | None]
    """Clips seen -> loss of the update that ended there; None: not finite."""
    validation: float | None
    """The validation loss at the end; None: not measured."""
    sha256: Mapping[str, str]
    """Hash of each file of the last checkpoint."""
    starts_clips: tuple[int, ...]
    """Where each of its jobs began."""
    lost_clips: int
    """Clips that were trained again."""

    @classmethod
    def read(cls, paths: RunPaths, total_clips: int) -> "Trace":
        """What a training to `total_clips` left.

        Raises:
            checkpoint.Damaged: its last checkpoint is not there or not whole.
        """
        lines = files.read_json_lines(paths.progress_log)[0]
        legs = ledger.read(paths.ledger)
        return cls(
            losses={line["clips_seen"]: line["loss"] for line in lines if line["kind"] == "train"},
            validation=next((line["val_loss"] for line in lines if line["kind"] == "validation"), None),
            sha256=checkpoint.read(paths.checkpoints / checkpoint.folder_name(total_clips)).sha256,
            starts_clips=tuple(leg.first_clips for leg in legs),
            lost_clips=sum(leg.lost_clips for leg in legs),
        )


@dataclass(frozen=True)
class Verdict:
    """Whether the two are the same, and why."""

    is_same: bool
    message: str


def judge(undisturbed: Trace, resumed: Trace, middle_clips: int, bitwise: bool) -> Verdict:
    """Compare a training that was killed and resumed with one that was not.

    Args:
        undisturbed, resumed: what they left.
        middle_clips: the checkpoint that the second had to go on from.
        bitwise: every bit must be the same, as on CPUs; else losses may differ by `LIMIT`.
    """
    if resumed.starts_clips != (0, middle_clips):
        begun = " and ".join(f"{clips:,}" for clips in resumed.starts_clips) or "no position"
        return Verdict(False, f"training did not go on from clip {middle_clips:,}: it began at {begun}")
    if missing := undisturbed.losses.keys() ^ resumed.losses.keys():
        return Verdict(False, f"one of the two logs has no loss at clip {min(missing):,}")
    by_clips = {clips: difference(loss, resumed.losses[clips]) for clips, loss in undisturbed.losses.items()}
    in_validation = difference(undisturbed.validation, resumed.validation)
    largest = max(*by_clips.values(), in_validation)
    changed = sorted(
        file
        for file in undisturbed.sha256.keys() | resumed.sha256.keys()
        if undisturbed.sha256.get(file) != resumed.sha256.get(file)
    )
    weights = f"other bytes in {', '.join(changed)}" if changed else "the last checkpoints have the same bytes"
    if largest == 0:
        if not changed:
            return Verdict(True, "bit for bit the same: every loss, and every file of the last checkpoint")
        return Verdict(not bitwise, f"the same losses, but not bit for bit the same state: {weights}")
    said = f"relative difference of the loss at most {largest:.1e}, limit {0 if bitwise else LIMIT:g}; {weights}"
    if largest <= LIMIT and not bitwise:
        return Verdict(True, f"the same within rounding, not bit for bit: {said}")
    first = next((clips for clips in sorted(by_clips) if by_clips[clips]), None)
    where = "in the validation at the end" if first is None else f"at clip {first:,}"
    early = first is not None and first <= middle_clips
    why = ", before the kill: computing itself is not repeatable here" if early else ""
    return Verdict(False, f"the loss differs first {where}{why} ({said})")


def difference(one: float | None, other: float | None) -> float:
    """Relative difference of two losses; infinite where one alone is a number."""
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return 0.0 if one == other else abs(one - other) / max(abs(one), abs(other))


def table(undisturbed: Trace, resumed: Trace, middle_clips: int) -> Iterator[str]:
    """Lines that show the losses side by side."""
    yield "       clips  undisturbed      resumed  difference"
    for clips in sorted(undisturbed.losses.keys() | resumed.losses.keys()):
        remark = "  <- checkpoint; killed after it, resumed from it" if clips == middle_clips else ""
        yield _row(f"{clips:,}", undisturbed.losses.get(clips), resumed.losses.get(clips)) + remark
    yield _row("validation", undisturbed.validation, resumed.validation)


def _row(label: str, one: float | None, other: float | None) -> str:
    return f"{label:>12}  {_number(one):>11}  {_number(other):>11}  {difference(one, other):>10.1e}"


def _number(loss: float | None) -> str:
    return "none" if loss is None else f"{loss:.7g}"
