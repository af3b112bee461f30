"""The look before the start, by subject."""

from tests.jobs import made_up
from vdt_hpc.commands import preflight


def look(run, *names, on=("a100",), **fields):
    """Findings by subject, on profiles of the stand-in."""
    return by_subject(run, names, [run.profile(name, **fields) for name in on])


def look_here(run, *names, **fields):
    """Findings by subject, on this machine."""
    return by_subject(run, names, [made_up.partition(run.root, **fields)])


def by_subject(run, names, profiles):
    findings = preflight.check(names, run.config, profiles, run.paths)
    return {each.subject: each for each in findings}


def faults(found):
    return {subject for subject, each in found.items() if each.level == "fault"}
