"""A step of training is queued on its device as a whole: nothing in it needs a number back from there.

The trainer's own step runs on tensors without numbers, where asking for one (`item`, `nonzero`, an index of booleans)
is an error, as it would be a wait on a GPU.
"""

from unittest import mock

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import DataDependentOutputException

from jobs import examples
from jobs.trainer import Trainer
from jobs.transfer import to_device
from tests.jobs import made_up
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.experiment import architecture
from vdt_hpc.experiment.partition import plan_batch
from vdt_hpc.model import vdt

ALL_OPTIONS = {f"model__{name}": True for name in ("mask_channel", "frame_times", "qk_norm", "zero_temporal")}


def without_numbers(config, seed=None):
    return vdt.VDT(**architecture.arguments(config))


@pytest.mark.parametrize("changes", [{}, {"train__precision": "bf16"}, ALL_OPTIONS])
def test_nothing_in_a_step_waits(tmp_path, changes):
    config, where = made_up.config(**changes), made_up.partition(tmp_path, max_clips_per_gpu=3)
    moments = made_up.moments(config, made_up.write_latents(config, where))
    drawer = examples.Drawer(config, len(moments), moments.num_flips, made_up.FRAMES)
    drawn = [drawer.training(position) for position in range(6)]
    batches = [examples.prepare(config, moments, drawn[start : start + 3]) for start in (0, 3)]
    plan, group = plan_batch(config.batch, where), ProcessGroup(Task(), tmp_path)
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        mock.patch.object(vdt, "build", without_numbers),
        mock.patch.object(torch.nn.Module, "to", lambda module, *_: module),
    ):
        trainer = Trainer(config, plan, group)
        tally, norm = trainer.gradients(batches)
        trainer.update(1e-3, 0.5)
        with pytest.raises(DataDependentOutputException):
            float(norm)
        with pytest.raises(DataDependentOutputException):
            tally.num_clips()


def test_what_stays_on_the_cpu_is_not_copied():
    tensor = torch.arange(3)
    assert to_device(tensor, torch.device("cpu")) is tensor


def test_what_goes_to_a_gpu_is_pinned_and_not_waited_for():
    tensor = mock.MagicMock()
    assert to_device(tensor, torch.device("cuda")) is tensor.pin_memory().to.return_value
    tensor.pin_memory().to.assert_called_once_with(torch.device("cuda"), non_blocking=True)
