"""How it stands with a job and with a run, by the best witness there is.

squeue; where it no longer knows the job, sacct; where there is none, what the job's script and tasks have left; the
run's lineage; the lease's heartbeat. Slurm tells that a job failed, the job itself tells why.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vdt_hpc import slurm
from vdt_hpc.commands.state import states
from vdt_hpc.commands.state.attempts import Attempt
from vdt_hpc.commands.state.facts import Facts
from vdt_hpc.commands.state.states import (
    CANCELLED,
    COMPLETE,
    FAILED,
    KILLED,
    RUNNING,
    STOPPED,
    STOPPING,
    UNKNOWN,
    State,
)
from vdt_hpc.commands.state.witnesses import Answers
from vdt_hpc.commands.words import span
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.store.ledger import KILLED as LEFT_NO_WORD
from vdt_hpc.store.ledger import Leg

SILENT_S: float = Partition.model_fields["lease_timeout_s"].default
"""A holder of the lease that has shown no sign of life for longer may not be alive."""


def state_of(attempt: Attempt, run: Facts, answers: Answers) -> State:
    """How it stands with one job.

    Args:
        attempt: the job.
        run: the run that it belongs to.
        answers: what Slurm has said.
    """
    if attempt.cluster is None:
        return _without_slurm(attempt, run)
    if answers.know(attempt.cluster):
        assert answers.queued is not None
        queued = answers.queued.get(attempt.job)
        if queued and queued.state not in slurm.ENDED:
            return states.from_queue(queued, attempt.begun())
        word = queued.state if queued else answers.accounted.get(attempt.job, "")
        told = states.from_accounting(word) if word else None
        if told is None or told.is_live:  # the accounting may lag behind
            return _explained(_own_word(attempt, run) or _vanished(attempt), attempt, run)
        return _explained(told, attempt, run)
    if attempt.cluster == answers.cluster and attempt.job in answers.accounted:
        return _explained(states.from_accounting(answers.accounted[attempt.job]), attempt, run)
    return _unasked(attempt, run, answers)


def of_run(run: Facts, each: Mapping[Attempt, State]) -> tuple[State, str]:
    """How it stands with a run; and the stage that this is about, empty for training.

    Args:
        run: what the disk tells of it.
        each: its jobs, and how it stands with each.
    """
    live = [attempt for attempt in each if each[attempt].is_live]
    live.sort(key=lambda attempt: _urgency(each[attempt]))
    live.sort(key=lambda attempt: (each[attempt].word not in (RUNNING, STOPPING), attempt.stage != "train"))
    if live:
        return each[live[0]], "" if live[0].stage == "train" else live[0].stage
    holder = _holder(run)
    if holder is not None and holder.word == RUNNING:
        return holder, ""
    last = _last_of_each_stage(each)
    later = [stage for stage, state in last.items() if stage != "train" and state.word in (FAILED, KILLED)]
    if run.is_trained:
        return (last[later[-1]], later[-1]) if later else (State(COMPLETE), "")
    if "train" in last:
        return last["train"], ""
    if holder is not None:
        return holder, ""
    if run.legs:
        return of_leg(run.legs[-1]), ""
    stage = (later or list(last))[-1:]
    return (last[stage[0]], stage[0]) if stage else (State(UNKNOWN, "nothing was started"), "")


def of_leg(leg: Leg) -> State:
    """How one job's part in training ended, by the lineage."""
    return states.from_ledger(leg.why or LEFT_NO_WORD)


def _last_of_each_stage(each: Mapping[Attempt, State]) -> dict[str, State]:
    """Stage -> how its last command ended, oldest first: rivals win together, and tasks of an array lose together."""
    last: dict[str, str] = {}
    for attempt in each:
        last.pop(attempt.stage, None)
        last[attempt.stage] = attempt.command
    return {
        stage: _verdict({job: state for job, state in each.items() if (job.stage, job.command) == (stage, command)})
        for stage, command in last.items()
    }


def _verdict(each: Mapping[Attempt, State]) -> State:
    """How the jobs of one command and stage ended together."""
    continued = {(attempt.cluster, attempt.continues) for attempt in each}
    tasks: dict[str, list[State]] = {}
    for attempt, state in each.items():
        if state.word == COMPLETE or (attempt.cluster, attempt.job) not in continued:
            tasks.setdefault(attempt.array or attempt.job, []).append(state)
    worst = [min(kin, key=_urgency) for kin in tasks.values()] or list(each.values())
    return next((state for state in worst if state.word == COMPLETE), min(worst, key=_urgency))


def _urgency(state: State) -> int:
    return states.ORDER.index(state.word)


def _explained(state: State, attempt: Attempt, run: Facts) -> State:
    """What Slurm says, with the reason that the job has left or somebody has noted."""
    if state.word == COMPLETE or state.is_live:
        return state
    own = _own_word(attempt, run)
    next_job = next((other.job for other in run.attempts if _goes_on(other, attempt)), "")
    why = own.why if own and own.why else state.why
    if state.word == CANCELLED and own and (attempt.wish or next_job):
        state = State(STOPPED)  # cancelled by its own script, after it had ended well enough
    elif state.word in (KILLED, STOPPED) and state.why:
        why = state.why
    if attempt.wish:
        why = attempt.wish
    return replace(state, why="; ".join(filter(None, [why, next_job and f"job {next_job} goes on"])))


def _goes_on(other: Attempt, attempt: Attempt) -> bool:
    """Whether a job was sent to continue another one, and no rival of it was faster."""
    return (other.cluster, other.continues) == (attempt.cluster, attempt.job) and not other.wish


def _own_word(attempt: Attempt, run: Facts) -> State | None:
    """How a job ended by what it has written itself, or the lineage; None where neither tells."""
    left, leg = attempt.left_word(), _leg(attempt, run)
    if leg is None or (left and left[1] >= leg.restart):
        return left[0] if left else None
    return of_leg(leg) if leg.restart >= attempt.last_start() else None


def _leg(attempt: Attempt, run: Facts) -> Leg | None:
    """A job's latest part in training."""
    found = [leg for leg in run.legs if leg.origin == (attempt.cluster, attempt.job)]
    return found[-1] if found and attempt.stage == "train" else None


def _vanished(attempt: Attempt) -> State:
    """A job that the queue has forgotten, and that has written nothing."""
    if attempt.begun():
        return State(KILLED, states.NO_WORD)
    return State(CANCELLED, attempt.wish or "it left the queue before it ran")


def _unasked(attempt: Attempt, run: Facts, answers: Answers) -> State:
    """A job whose Slurm gives no answer, or is another cluster's."""
    elsewhere = bool(answers.cluster) and attempt.cluster != answers.cluster
    who = f"cluster {attempt.cluster} cannot be asked from here" if elsewhere else "Slurm gives no answer"
    left = attempt.left_word()
    is_holder = run.holder is not None and (run.holder.cluster, run.holder.job_id) == (attempt.cluster, attempt.job)
    if is_holder and attempt.stage == "train" and run.holder and (not left or left[1] < run.holder.restart_count):
        holder = _holder(run)
        assert holder is not None
        return holder
    own = _own_word(attempt, run)
    if own is None or own.why == states.NO_WORD:
        return State(CANCELLED, attempt.wish) if attempt.wish and not attempt.begun() else State(UNKNOWN, who)
    if own.word in (STOPPED, KILLED) and not attempt.wish:
        return replace(own, why=f"{own.why}; perhaps in the queue again: {who}")
    return own


def _holder(run: Facts) -> State | None:
    """How it stands with whoever holds the lease, by the heartbeat; None where nobody does."""
    if run.holder is None:
        return None
    who = run.holder.describe()  # which names the cluster only inside a job of another one
    if run.holder.cluster and " of cluster " not in who:
        who += f" of cluster {run.holder.cluster}"
    if not run.holder.job_id and run.holder.is_gone():  # asks the process table alone
        return State(KILLED, f"{who} is gone, and left no word")
    if run.silent_s > SILENT_S:
        return State(UNKNOWN, f"no sign of life from {who} for {span(run.silent_s)}")
    return State(RUNNING, f"{who}, sign of life {span(run.silent_s)} ago")


def _without_slurm(attempt: Attempt, run: Facts) -> State:
    """A job that was started on a machine without the queue."""
    if _has_process(attempt):
        return State(RUNNING, "on this machine")
    left = attempt.left_word()
    if left:
        return left[0]
    is_last = attempt.stage == "train" and attempt == [each for each in run.attempts if each.stage == "train"][-1]
    holder = _holder(run) if is_last and run.holder and not run.holder.job_id else None
    return holder or State(UNKNOWN, "killed, or on another machine: it left no word, and no process here is its")


def _has_process(attempt: Attempt) -> bool:
    """Whether the controller of a job on this machine is there, and is not a later process of the same number."""
    try:
        words = Path(f"/proc/{attempt.job}/cmdline").read_bytes()
    except OSError:  # it is gone, or another user's
        return False
    return os.fsencode(attempt.folder) in words


def all_of(run: Facts, answers: Answers) -> dict[Attempt, State]:
    """A run's jobs, oldest first, and how it stands with each."""
    return {attempt: state_of(attempt, run, answers) for attempt in run.attempts}
