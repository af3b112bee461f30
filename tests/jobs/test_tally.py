import math

import pytest
import torch

from jobs.tally import Tally
from vdt_hpc.experiment.tasks_config import TASKS
from vdt_hpc.model.objective import Losses


def losses(*totals):
    total = torch.tensor(totals)
    return Losses(total, total / 2, total / 4)


def test_the_loss_of_each_of_the_six_tasks_is_the_mean_over_its_clips():
    one, other = (Tally.zero(torch.device("cpu")) for _ in range(2))
    one.add(losses(*range(1, 7)), TASKS)
    other.add(losses(9.0, 11.0), ["completion", "backward"])
    one.merge(other)
    means = one.means()
    assert one.num_clips() == 8
    expected = dict(zip(TASKS, range(1, 7), strict=True)) | {"completion": (6 + 9) / 2, "backward": (3 + 11) / 2}
    assert means["loss_by_task"] == pytest.approx(expected)
    assert (means["loss"], means["mse"], means["vb"]) == pytest.approx((41 / 8, 41 / 16, 41 / 32))


def test_tasks_without_clips_are_left_out():
    tally = Tally.zero(torch.device("cpu"))
    assert math.isnan(tally.means()["loss"])
    tally.add(losses(2.0), ["interpolation"])
    assert tally.means()["loss_by_task"] == {"interpolation": 2.0}
