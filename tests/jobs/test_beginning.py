"""Runs that begin with the weights of a file: on every rank, once, and with an account in the log."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import beginning, train
from jobs.trainer import Trainer
from tests.jobs import made_up, ranks
from tests.jobs.aftermath import assert_equal, final_state, log_lines, state_at
from vdt_hpc import files
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.partition import plan_batch
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.model import vdt

STILL = {"optim__lr": 1e-30, "optim__warmup_clips": 0}
"""Updates that move no weight: what a checkpoint holds is what the run began with."""


def weights_of(seed, **changes):
    """The state of another run's model, no weight of which is zero."""
    generator = torch.Generator().manual_seed(seed)
    state = vdt.build(made_up.config(**changes), seed).state_dict()
    noisy = {name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) for name, tensor in state.items()}
    return noisy | {name: state[name] for name in ("pos_embed", "time_embed")}


@pytest.fixture
def published(tmp_path):
    """A file of weights for one frame fewer than the runs have."""
    path = tmp_path / "published.pt"
    torch.save({"ema": weights_of(5, model__num_frames=4, tasks__prefix_max_frames=3)}, path)
    return path


def assert_begins_with(state, path):
    for name, tensor in torch.load(path, weights_only=True)["ema"].items():
        expected = vdt.frame_table(5, 16) if name == "time_embed" else tensor
        for part in ("model", "ema"):
            torch.testing.assert_close(state[part][name], expected, rtol=0, atol=1e-9, msg=f"{part} {name}")


def test_a_run_begins_with_them_and_resumes_without_them(tmp_path, published, partition, capfd):
    run = made_up.config(init={"from": str(published)}, **STILL)
    paths = made_up.write_latents(run, partition)
    assert train.run(run, partition).complete
    assert_begins_with(state_at(paths, 54), published)
    (line,) = log_lines(paths, "init")
    assert (line["file"], line["clips_seen"], line["layout"]) == ("published.pt", 0, "VDT")
    assert line["sha256"] == files.sha256(published)
    assert line["reshaped"] == ["time_embed 4 -> 5 frames (its sinusoid continued)"]
    assert (line["num_loaded"], line["num_tensors"]) == (31, 31)
    said = capfd.readouterr().out
    assert f"weights from {published} ({line['sha256'][:12]})\n  31 of 31 tensors, names of VDT\n  reshaped: " in said
    assert [each["kind"] for each in log_lines(paths)[:2]] == ["start", "init"]


def test_killed_and_resumed_without_the_file_is_the_undisturbed_run(tmp_path, published):
    changes = {"init": {"from": str(published)}}
    reference = made_up.write_latents(made_up.config(name="whole", **changes), made_up.partition(tmp_path))
    ranks.train(tmp_path, {"name": "whole", **changes})
    paths = paths_for(made_up.config(**changes), made_up.partition(tmp_path))
    job = ranks.Ranks(tmp_path, changes)
    job.wait_for(lambda: (paths.checkpoints / "clips-000000018").exists())
    job.kill()
    job.join()
    published.unlink()
    ranks.train(tmp_path, changes)
    assert_equal(final_state(paths), final_state(reference))
    assert len(log_lines(paths, "init")) == 1


def test_two_ranks_begin_alike(tmp_path, published):
    changes = {"init": {"from": str(published)}, "train__total_clips": 18, **STILL}
    paths = made_up.write_latents(made_up.config(**changes), made_up.partition(tmp_path))
    ranks.train(tmp_path, changes, world_size=2)
    assert_begins_with(final_state(paths), published)


def test_a_file_that_does_not_fit_ends_every_rank_in_one_line(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file(weights_of(5, model={"width": 32, "depth": 1, "num_heads": 2, "num_frames": 5}), path)
    changes = {"init": {"from": str(path)}}
    made_up.write_latents(made_up.config(**changes), made_up.partition(tmp_path))
    for outcome in ranks.Ranks(tmp_path, changes, world_size=2).outcomes():
        assert outcome["error"].startswith(f"{path}: the weights do not fit the model (the file's model has width 32")
        assert "task" not in outcome["error"]


def test_a_name_that_was_mistyped_may_be_mended(tmp_path, published, partition):
    mistyped = made_up.config(init={"from": f"{published}x.pt"}, train__total_clips=6)
    paths = made_up.write_latents(mistyped, partition)
    with pytest.raises(UserError, match="no weights"):
        train.run(mistyped, partition)
    assert not paths.run_config.exists()
    assert train.run(made_up.config(init={"from": str(published)}, train__total_clips=6), partition).complete


def trainer(run):
    group = ProcessGroup(Task(), None)
    return Trainer(run, plan_batch(run.batch, made_up.partition("nowhere")), group), group


class TwoNodes(ProcessGroup):
    """This rank's words beside those of another node."""

    def __init__(self, others):
        super().__init__(Task(), None)
        self._others = list(others)

    def gather_texts(self, text):
        return [text, self._others.pop(0)]


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (["", "another hash"], "tasks see different files as init.from="),
        (["no weights x.pt"], r"no weights x.pt \(task 1; others have no such fault\)"),
    ],
)
def test_nodes_that_see_something_else(published, others, said):
    run = made_up.config(init={"from": str(published)})
    started, _ = trainer(run)
    before = {name: tensor.clone() for name, tensor in started.model.state_dict().items()}
    with pytest.raises(UserError, match=said):
        beginning.begin(run, started, TwoNodes(others))
    assert all(torch.equal(tensor, before[name]) for name, tensor in started.model.state_dict().items())


def test_without_init_nothing_is_read():
    started, group = trainer(made_up.config())
    assert beginning.begin(started._config, started, group) is None


@pytest.mark.parametrize("stated", [None, "noise", "velocity"])
def test_an_output_that_says_something_else_is_told(tmp_path, stated):
    save_file(weights_of(5), tmp_path / "diffusion_pytorch_model.safetensors")
    if stated:
        (tmp_path / "config.json").write_text(json.dumps({"prediction": stated}))
    run = made_up.config(init={"from": str(tmp_path)}, diffusion={"prediction": "velocity"})
    report = beginning.begin(run, *trainer(run)).report
    remark = "the file's output says noise, diffusion.prediction is velocity: the output has to be learnt anew"
    assert report.remarks == (() if stated == "velocity" else (remark,))
    assert dataclasses.asdict(report)["num_loaded"] == 31
    assert load_file(tmp_path / "diffusion_pytorch_model.safetensors").keys() == weights_of(5).keys()
