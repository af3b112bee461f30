"""How a model is run: activation checkpointing and the compiled block give what the plain model gives."""

import os

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import functional_call

from tests.model.test_options import OPTIONS, TIMES, given_first, latents, model_with
from tests.model.test_vdt import awake
from vdt_hpc.commandline import load_run
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.model import execution

CONFIG = load_run("smoke")


def partition(root, **fields):
    return Partition(name="here", executor="local", root=str(root), **fields)


@pytest.fixture
def counter(monkeypatch):
    """A backend that counts what it is given to compile, and runs it as it is."""
    backend = CompileCounterWithBackend("aot_eager")
    compile_block = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda block, **options: compile_block(block, backend=backend, **options)
    )
    torch._dynamo.reset()
    yield backend
    torch._dynamo.reset()


def outcome(model, precision):
    """Output and gradients of a pass; hooks on the weights, as the sum over ranks has them."""
    arrived = []
    hooks = [
        weight.register_post_accumulate_grad_hook(lambda _, name=name: arrived.append(name))
        for name, weight in model.named_parameters()
    ]
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        output = model(latents(), TIMES, given_first())
    output.float().square().sum().backward()
    for hook in hooks:
        hook.remove()
    assert sorted(arrived) == sorted(name for name, _ in model.named_parameters())
    return [output.detach(), *[weight.grad.clone() for weight in model.parameters()]]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("options", [(), OPTIONS])
def test_checkpointing_changes_no_bit(tmp_path, options, precision):
    model = awake(model_with(*options))
    plain = outcome(model, precision)
    execution.set_up(model, partition(tmp_path, activation_checkpointing=True))
    assert model.checkpointing
    for one, other in zip(plain, outcome(model, precision), strict=True):
        assert torch.equal(one, other)


def test_checkpointing_computes_each_block_again(tmp_path):
    def num_calls(checkpointing):
        model = awake(model_with(depth=3))
        execution.set_up(model, partition(tmp_path, activation_checkpointing=checkpointing))
        calls = []
        for block in model.blocks:
            block.register_forward_pre_hook(lambda *_: calls.append(1))
        model(latents(), TIMES).sum().backward()
        return len(calls)

    assert (num_calls(False), num_calls(True)) == (3, 6)
    model = awake(model_with(depth=3))
    model.checkpointing = True
    with torch.no_grad():  # nothing to keep, nothing to compute again
        assert not model(latents(), TIMES).requires_grad


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("options", [(), OPTIONS])
def test_the_block_is_compiled_once_for_all_layers(tmp_path, counter, options, checkpointing):
    model = awake(model_with(*options, depth=4))
    names = list(model.state_dict())
    plain = outcome(model, "fp32")
    execution.set_up(model, partition(tmp_path, compile=True, activation_checkpointing=checkpointing))
    for _ in range(2):
        for one, other in zip(outcome(model, "fp32"), plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 1
    assert list(model.state_dict()) == names


def test_what_validation_and_sampling_compile(tmp_path, counter):
    model = awake(model_with(depth=4))
    execution.set_up(model, partition(tmp_path, compile=True))
    average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    expected = outcome(model, "fp32")[0]
    with torch.no_grad():
        averaged = functional_call(model, average, (latents(), TIMES, given_first()))
    torch.testing.assert_close(averaged, expected)
    assert counter.frame_count == 2
    sampled = model_with(depth=4).eval().requires_grad_(False)
    sampled.load_state_dict(average)
    execution.set_up(sampled, partition(tmp_path, compile=True))
    with torch.inference_mode():
        for time in (900, 400):
            sampled(latents(), torch.tensor([time]), given_first())
    assert counter.frame_count == 3


def test_without_compile_nothing_is_compiled(tmp_path, counter):
    model = awake(model_with())
    execution.set_up(model, partition(tmp_path))
    outcome(model, "fp32")
    assert counter.frame_count == 0


@pytest.mark.parametrize(("device", "language"), [("cpu", "C++"), ("cuda", "C")])
def test_no_compiler_is_one_clear_line(monkeypatch, tmp_path, device, language):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError) as caught:
        execution.require_compiler(torch.device(device), partition(tmp_path, compile=True))
    said = str(caught.value)
    assert said.startswith(f"compile: true of partition here needs a {language} compiler")
    assert "set compile: false" in said
    assert "\n" not in said
    compiler = tmp_path / "my-compiler"
    compiler.write_text("")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX" if device == "cpu" else "CC", "my-compiler")
    execution.require_compiler(torch.device(device), partition(tmp_path, compile=True))


def test_compiled_code_lies_under_the_root_unless_the_user_says_where(monkeypatch, tmp_path):
    monkeypatch.setattr(execution, "require_compiler", lambda device, partition: None)
    monkeypatch.setattr(os, "environ", {"TORCHINDUCTOR_CACHE_DIR": "/of/the/user"})
    execution.prepare(CONFIG, partition(tmp_path / "runs"), torch.device("cpu"))
    assert os.environ == {"TORCHINDUCTOR_CACHE_DIR": "/of/the/user"}
    execution.prepare(CONFIG, partition(tmp_path / "runs", compile=True), torch.device("cpu"))
    assert os.environ == {
        "TORCHINDUCTOR_CACHE_DIR": "/of/the/user",
        "TRITON_CACHE_DIR": str(tmp_path / "runs" / "compiled" / "triton"),
    }
