"""Files of weights in the forms that people publish, and in those that must be refused."""

import argparse
import os

import pytest
import torch
from safetensors.torch import save_file

from tests.model import published
from vdt_hpc.errors import UserError
from vdt_hpc.model import weight_files
from vdt_hpc.model.fitting import fit


def wrapped(state, prefix=""):
    return {prefix + name: tensor for name, tensor in state.items()}


def other(state):
    return {name: tensor + 1 for name, tensor in state.items()}


FORMS = {
    "plain.pt": torch.save,
    "plain.bin": torch.save,
    "old.pth": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "tensors.safetensors": save_file,
    "average.pt": lambda state, path: torch.save({"model": other(state), "ema": state, "opt": {"lr": 0.1}}, path),
    "model.pt": lambda state, path: torch.save({"epoch": 3, "model": state}, path),
    "lightning.pt": lambda state, path: torch.save({"state_dict": state, "args": argparse.Namespace(lr=1)}, path),
    "module.pt": lambda state, path: torch.save(wrapped(state, "module."), path),
    "compiled.pt": lambda state, path: torch.save({"ema": wrapped(state, "module._orig_mod.")}, path),
    "compiled.safetensors": lambda state, path: save_file(wrapped(state, "_orig_mod."), path),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_comes_back_and_says_the_same(tmp_path, form):
    model = published.model()
    FORMS[form](model.state_dict(), tmp_path / form)
    into = published.model(seed=1)
    assert not published.same(model, into)
    into.load_state_dict(fit(weight_files.read(tmp_path / form), into.state_dict()).state)
    assert published.same(model, into)


class Malice:
    def __reduce__(self):
        return (os.mkdir, (str(self.folder),))


def malicious(path):
    malice = Malice()
    malice.folder = path.parent / "executed"
    torch.save({"model": published.model().state_dict(), "more": malice}, path)


def truncated(path):
    torch.save(published.model().state_dict(), path)
    os.truncate(path, path.stat().st_size // 2)


def truncated_old(path):
    torch.save(published.model().state_dict(), path, _use_new_zipfile_serialization=False)
    os.truncate(path, path.stat().st_size // 2)


def truncated_safetensors(path):
    save_file(published.model().state_dict(), path)
    os.truncate(path, path.stat().st_size - 100)


def not_finite(path):
    state = published.model().state_dict()
    state["final_layer.linear.bias"][2] = float("nan")
    torch.save(state, path)


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("x.pt", malicious, "it names posix.mkdir, which is neither a tensor nor a plain value"),
        ("x.pt", truncated, "is truncated, or was not written by torch.save"),
        ("x.pt", truncated_old, "is truncated, or was not written by torch.save"),
        ("x.safetensors", truncated_safetensors, "is no whole safetensors file"),
        ("x.pt", lambda path: path.write_text("<html>"), "is truncated, or was not written by torch.save"),
        ("x.pt", lambda path: path.write_bytes(b""), "is truncated, or was not written by torch.save"),
        ("x.safetensors", lambda path: path.write_text("<html>"), "is no whole safetensors file"),
        ("x.pt", lambda path: torch.save([1, 2], path), "found list"),
        ("x.pt", lambda path: torch.save({"epoch": 3, "net": {}}, path), "found the entries epoch, net"),
        ("x.pt", lambda path: torch.save({}, path), "holds no weights"),
        ("x.pt", not_finite, "final_layer.linear.bias holds numbers that are not finite"),
        ("x.pt", lambda path: None, "cannot read .*x.pt: No such file"),
    ],
)
def test_what_is_no_use_is_one_line(tmp_path, name, harm, said):
    harm(tmp_path / name)
    with pytest.raises(UserError, match=said) as caught:
        weight_files.read(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert not (tmp_path / "executed").exists()
