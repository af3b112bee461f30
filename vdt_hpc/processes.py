"""The table of this machine's processes, as Linux tells it."""

from pathlib import Path


def state_and_start(pid: int) -> tuple[str, int] | None:
    """State letter and start time of a process, in clock ticks since boot; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the program's name in parentheses, may itself hold spaces and parentheses.
    state, *others = stat.rpartition(")")[2].split()
    return state, int(others[18])
