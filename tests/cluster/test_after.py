"""How a job's script judges its tasks' end, and when it stops starting them again."""

import pytest

from tests.jobs import made_up
from vdt_hpc.cluster.after import judge
from vdt_hpc.cluster.job import Outcome
from vdt_hpc.cluster.restarts import count_idle
from vdt_hpc.experiment.paths import paths_for


def outcomes(*states):
    return [state and Outcome(state, f"it is {state}", {}) for state in states]


@pytest.mark.parametrize(
    ("states", "status", "verdict", "why"),
    [
        (["complete", "complete"], 0, 0, "complete"),
        (["stopped", "stopped"], 0, None, "it is stopped"),
        (["complete", "stopped"], 0, None, "it is stopped"),
        (["complete", "incomplete"], 0, 2, "it is incomplete"),
        (["incomplete", "stopped"], 0, None, "it is stopped"),
        (["incomplete", None], 137, None, "task 1 killed by signal 9 (srun ended with status 137)"),
        ([None, "error"], 143, 2, "it is error"),
        (["crashed", "error"], 1, 2, "it is error"),
        (["crashed", "crashed"], 1, None, "task 0 crashed: it is crashed"),
        (["crashed", None], 137, None, "task 1 killed by signal 9 (srun ended with status 137)"),
        ([None, None], 1, None, "task 0, 1 killed (srun ended with status 1)"),
    ],
)
def test_the_verdict(states, status, verdict, why):
    assert judge(outcomes(*states), status) == (verdict, why)


def test_restarts_are_counted_as_long_as_nothing_new_is_finished(tmp_path):
    paths = paths_for(made_up.config(), made_up.partition(tmp_path))
    record = tmp_path / "restarts.json"
    assert [count_idle(record, paths) for _ in range(3)] == [1, 2, 3]
    (paths.checkpoints / ".clips-000000012.tmp").mkdir(parents=True)
    assert count_idle(record, paths) == 4
    (paths.checkpoints / "clips-000000012").mkdir()
    assert [count_idle(record, paths) for _ in range(2)] == [1, 2]
    made_up.write_latents(made_up.config(), made_up.partition(tmp_path))
    assert count_idle(record, paths) == 1
