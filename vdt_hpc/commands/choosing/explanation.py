"""Why a profile was chosen, in words: a table of all, what the figures rest on, and a sentence."""

from collections.abc import Sequence

from vdt_hpc.commands.choosing.options import SAME_S, Option, best
from vdt_hpc.commands.words import columns, moment, span


def explain(options: Sequence[Option], chosen: Option, trains: bool, by_end: bool) -> str:
    """The whole explanation.

    Args:
        options: all that were looked at.
        chosen: one of them.
        trains: whether there is training left to do.
        by_end: whether the end of the training decided; else the start.
    """
    possible = [each for each in options if not each.why_not]
    lines = [*_table(options, trains), *_remarks(possible, by_end)]
    return "\n".join([*lines, f"chosen: {chosen.partition.name}, {_reason(chosen, possible, trains, by_end)}"])


def _table(options: Sequence[Option], trains: bool) -> list[str]:
    rows = [("profile", "starts", *(("clips/s", "", "jobs", "ends") if trains else ()), "why")]
    for each in options:
        training: tuple[str, ...] = ()
        if trains:
            training = ("-", "unknown" * (not each.why_not), "-", "-")
            if each.speed:
                end = "-" if each.end_s is None else f"in {span(each.end_s)}"
                training = (f"{each.speed.clips_per_s:.3g}", each.speed.how, str(each.num_jobs), end)
        rows.append(
            (each.partition.name, "-" if each.why_not else moment(each.wait_s), *training, each.why_not or each.doubt)
        )
    return columns(rows, indent="  ")


def _remarks(possible: Sequence[Option], by_end: bool) -> list[str]:
    """What the figures rest on, where it is not plain."""
    if by_end and any(each.num_jobs > 1 and each.wait_s for each in possible):
        return ["  Where the work takes several jobs, each of them is counted as waiting as long as the first."]
    return []


def _reason(chosen: Option, possible: Sequence[Option], trains: bool, by_end: bool) -> str:
    others = [each for each in possible if each is not chosen]
    if not others:
        return "the only one that is possible"
    rival = best(others, by_end)
    if by_end:
        return f"which {_against(chosen, rival, chosen.end_s, rival.end_s, 'end')}{_although(chosen, rival)}"
    unknown = [each.partition.name for each in possible if trains and each.speed is None]
    alone = f" (the speed on {', '.join(unknown)} is unknown, so that only the start counts)" if unknown else ""
    return f"which {_against(chosen, rival, chosen.wait_s, rival.wait_s, 'start')}{alone}"


def _against(chosen: Option, rival: Option, own_s: float | None, other_s: float | None, verb: str) -> str:
    """How the two compare in what decided."""
    name = rival.partition.name
    same = own_s == other_s or (own_s is not None and other_s is not None and abs(own_s - other_s) < SAME_S)
    if same:
        peak = " and has the larger peak" if chosen.peak_tflops > rival.peak_tflops else ""
        return f"{verb}s together with {name}{peak}"
    return f"{verb}s first: {moment(own_s)}, {name} {moment(other_s)}"


def _although(chosen: Option, rival: Option) -> str:
    """What speaks for the other one, and why it does not count."""
    if not (chosen.speed and rival.speed) or chosen.wait_s is None or rival.wait_s is None:
        return ""
    if rival.speed.clips_per_s > chosen.speed.clips_per_s:
        return f"; that one is faster, but starts {moment(rival.wait_s)}"
    if rival.wait_s + SAME_S < chosen.wait_s:
        return f"; that one starts {moment(rival.wait_s)}, but is slower"
    return ""
