"""Files of weights as people publish them, read without running any code that lies in them.

Safetensors, or pickles through torch's restricted reader; the state dict is taken out of what training scripts wrap
around it.
"""

import argparse
import errno
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdt_hpc import files
from vdt_hpc.errors import UserError

ENTRIES = ("ema", "model", "state_dict")
"""Entries of a checkpoint that hold a state dict, the best first: the average is what people sample from."""
PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""
_REFUSED = re.compile(r"\bGLOBAL (\S+)")


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights by the model's names, on the CPU, mapped from the file where its format allows.

    Args:
        path: a .safetensors file, or what torch.save has written.

    Raises:
        UserError: it cannot be read, is truncated or of another format, holds more than plain data, holds no state
            dict, or a number in it is not finite.
    """
    with files.readable(path):
        content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    tensors = _without_prefixes(_state_dict(content, path))
    for name, tensor in tensors.items():
        if not tensor.float().isfinite().all():
            raise UserError(f"{path} is no use: {name} holds numbers that are not finite; take another file of weights")
    return tensors


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"{path} is no whole safetensors file ({' '.join(str(error).split())}); fetch it again"
        ) from None


def _read_pickle(path: Path) -> Any:
    # Training scripts store their arguments beside the weights; a Namespace is nothing but named values.
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except Exception as error:  # bytes that are no such file fail in many ways; each becomes one of two lines
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # invalid: a place beyond a cut file's end
                raise
            raise UserError(f"{path} cannot be read as weights: {_why_no_weights(error)}") from None


def _why_no_weights(error: Exception) -> str:
    """What torch's error says, without its advice to let the file run code."""
    if refused := _REFUSED.search(str(error)):
        return (
            f"it names {refused[1]}, which is neither a tensor nor a plain value, and no code of a file is ever run; "
            "save its state dict alone, best as .safetensors"
        )
    return "it is truncated, or was not written by torch.save; fetch it again"


def _state_dict(content: Any, path: Path) -> Mapping[str, Tensor]:
    """The state dict in what a file holds: the whole of it, or one of `ENTRIES`."""
    inner = content
    if isinstance(content, Mapping):
        inner = next((content[entry] for entry in ENTRIES if isinstance(content.get(entry), Mapping)), content)
    if isinstance(inner, Mapping) and inner and all(isinstance(value, Tensor) for value in inner.values()):
        return inner
    held = type(content).__name__
    if isinstance(content, Mapping):
        held = "the entries " + ", ".join(map(str, list(content)[:6])) + (", ..." if len(content) > 6 else "")
    raise UserError(
        f"{path} holds no weights: expected names and tensors, alone or under {', '.join(ENTRIES)}, found {held}"
    )


def _without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the model's own names."""
    plain = dict(tensors)
    while prefix := next((each for each in PREFIXES if all(name.startswith(each) for name in plain)), None):
        plain = {name.removeprefix(prefix): tensor for name, tensor in plain.items()}
    return plain
