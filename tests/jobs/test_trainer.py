import json
import shutil

import pytest
import torch

from jobs import examples, loop, train
from jobs.trainer import Trainer
from tests.jobs import made_up
from vdt_hpc.dist import ProcessGroup, Task
from vdt_hpc.experiment.partition import plan_batch
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.size import forward_flops
from vdt_hpc.store import checkpoint

CONFIG = made_up.config()


@pytest.fixture
def moments(partition):
    return made_up.moments(CONFIG, made_up.write_latents(CONFIG, partition))


def awake_trainer(root, limit):
    plan = plan_batch(CONFIG.batch, made_up.partition(root, max_clips_per_gpu=limit))
    trainer = Trainer(CONFIG, plan, ProcessGroup(Task(), root))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return trainer, plan


def gradients(trainer, plan, moments):
    drawn = [examples.Drawer(CONFIG, 7, 2, made_up.FRAMES).training(position) for position in range(6)]
    batches, start = [], 0
    for size in plan.micro_batches[0]:
        batches.append(examples.prepare(CONFIG, moments, drawn[start : start + size]))
        start += size
    tally, norm = trainer.gradients(batches)
    return tally.means(), norm, {name: weight.grad.clone() for name, weight in trainer.model.named_parameters()}


@pytest.mark.parametrize("limit", [1, 2, 4, 5])
def test_the_loss_and_its_gradient_do_not_depend_on_the_split(tmp_path, moments, limit):
    means, norm, whole = gradients(*awake_trainer(tmp_path, 6), moments)
    split_means, split_norm, split = gradients(*awake_trainer(tmp_path, limit), moments)
    assert split_means["loss"] == pytest.approx(means["loss"], rel=1e-6)
    assert split_means["loss_by_task"] == pytest.approx(means["loss_by_task"], rel=1e-6)
    torch.testing.assert_close(split_norm, norm, rtol=1e-5, atol=0)
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, rtol=1e-4, atol=1e-6)


def test_the_state_of_an_unused_optimizer_can_be_saved_and_loaded(tmp_path):
    first, _ = awake_trainer(tmp_path, 6)
    second, _ = awake_trainer(tmp_path, 6)
    second.load({part: {name: t.clone() for name, t in tensors.items()} for part, tensors in first.state().items()})
    for part, tensors in first.state().items():
        assert all(torch.equal(tensor, second.state()[part][name]) for name, tensor in tensors.items())
        assert not any("module." in name for name in tensors)


def test_an_update_that_is_not_finite_is_skipped_and_counted(tmp_path, partition, monkeypatch, capsys):
    config = made_up.config(train__total_clips=18, train__checkpoint_every_clips=6)
    paths = made_up.write_latents(config, partition)
    whole = loop.Trainer.gradients

    def poisoned(self, batches):
        tally, norm = whole(self, batches)
        if batches[0].examples[0].position == 6:
            next(self.model.parameters()).grad.fill_(float("nan"))
            norm = norm * float("nan")
        return tally, norm

    monkeypatch.setattr(loop.Trainer, "gradients", poisoned)
    assert train.run(config, partition).complete
    assert "update to clip 12 skipped" in capsys.readouterr().out
    before, after, last = (
        checkpoint.read(paths.checkpoints / checkpoint.folder_name(clips)).load("model") for clips in (6, 12, 18)
    )
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(after["final_layer.linear.weight"], last["final_layer.linear.weight"])
    assert all(tensor.isfinite().all() for tensor in last.values())
    lines = [json.loads(line) for line in paths.progress_log.read_text().splitlines()]
    logged = {line["clips_seen"]: line for line in lines if line["kind"] == "train"}
    assert [logged[clips]["skipped_updates"] for clips in (6, 12, 18)] == [0, 1, 1]
    assert logged[12]["loss"] is None


def test_the_loss_falls_and_the_average_follows(partition):
    config = made_up.config(train__total_clips=1200, optim__lr=3e-3)
    paths = made_up.write_latents(config, partition)
    result = train.run(config, partition)
    assert result.complete
    lines = [json.loads(line) for line in paths.progress_log.read_text().splitlines()]
    validation = {line["clips_seen"]: line["val_loss"] for line in lines if line["kind"] == "validation"}
    assert validation[1200] < 0.75 * validation[30]
    assert lines[0]["kind"] == "start"
    assert all(line["num_examples"] == 12 for line in lines if line["kind"] == "validation")
    assert len(checkpoint.folders(paths.checkpoints)) == 3
    weights = checkpoint.newest(paths.checkpoints, signature(config)).load("ema")
    assert not torch.equal(weights["final_layer.linear.weight"], torch.zeros_like(weights["final_layer.linear.weight"]))


def final_parts(paths):
    return {part: checkpoint.read(checkpoint.folders(paths.checkpoints)[0]).load(part) for part in checkpoint.PARTS}


def test_bf16_keeps_fp32_weights_and_resumes_bit_for_bit(tmp_path):
    losses, states = {}, {}
    for precision in ("fp32", "bf16"):
        config, where = made_up.config(train__precision=precision), made_up.partition(tmp_path / precision)
        paths = made_up.write_latents(config, where)
        assert train.run(config, where).complete
        states[precision] = final_parts(paths)
        lines = map(json.loads, paths.progress_log.read_text().splitlines())
        losses[precision] = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    tensors = [tensor for named in states["bf16"].values() for tensor in named.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    shutil.rmtree(checkpoint.folders(paths.checkpoints)[0])
    assert train.run(config, where).complete
    for part, named in final_parts(paths).items():
        assert all(torch.equal(tensor, states["bf16"][part][name]) for name, tensor in named.items())


def test_gradients_are_clipped_to_the_limit_and_told_before(tmp_path, moments):
    trainer, plan = awake_trainer(tmp_path, 6)
    _, norm, _ = gradients(trainer, plan, moments)
    clipped = CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update={"grad_clip_norm": float(norm) / 4})})
    unlimited = CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update={"grad_clip_norm": None})})
    for config, expected in ((clipped, norm / 4), (unlimited, norm)):
        trainer._config = config
        _, told, found = gradients(trainer, plan, moments)
        torch.testing.assert_close(told, norm)
        torch.testing.assert_close(torch.stack([g.norm() for g in found.values()]).norm(), expected, rtol=1e-4, atol=0)


def test_time_alone_makes_checkpoints_and_the_log_tells_what_they_cost(tmp_path):
    config = made_up.config(train__checkpoint_every_clips=60_000, train__checkpoint_every_min=1e-6)
    where = made_up.partition(tmp_path, peak_bf16_tflops=0.001)
    paths = made_up.write_latents(config, where)
    assert train.run(config, where).complete
    assert len(checkpoint.folders(paths.checkpoints)) == config.train.keep_checkpoints
    lines = [json.loads(line) for line in paths.progress_log.read_text().splitlines()]
    saved = [line for line in lines if line["kind"] == "checkpoint"]
    assert {line["clips_seen"] for line in saved} == set(range(6, 61, 6))
    assert all(0 <= line["blocked_s"] < line["durable_s"] < 60 for line in saved)
    assert lines[-1]["kind"] == "end"
    for line in (line for line in lines if line["kind"] == "train"):
        assert 0.01 < line["memory_gb"] < 50
        assert line["mfu"] == pytest.approx(3 * forward_flops(config) * line["clips_per_s"] / 1e9, rel=1e-4)
        assert 0 < line["time_left_s"] <= 36_000
        assert line["loss_by_task"].keys() <= {"prediction", "unconditional"}
