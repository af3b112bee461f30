"""Published weights brought to the shapes of a run's model, with an account of every name.

Two formats, told apart by their names: VDT (arXiv 2305.13311) and DiT (arXiv 2212.09748), whose blocks, embedders and
output are VDT's without the temporal half. Nothing is loaded unless every name is accounted for.

Legend: N tokens per frame, T frames, D width, P patch side, C latent channels.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from vdt_hpc.errors import UserError
from vdt_hpc.model.resizing import resize_frames, resize_places

Frames = Literal["continue", "stretch"]
SHOWN = 6
"""Names of one kind that a line shows; of the others it says how many there are."""
QK_NORM = re.compile(r"blocks\.\d+\.(temporal_)?attn\.[qk]_norm\..*")
MASK_CHANNEL = re.compile(r"mask_embedder\..*")
TEMPORAL = re.compile(r"time_embed|blocks\.\d+\.temporal_.*")
_BLOCK = re.compile(r"\bblocks\.\d+\.")


@dataclass(frozen=True)
class Report:
    """What became of published weights."""

    layout: Literal["VDT", "DiT"]
    num_tensors: int
    """Tensors of the model."""
    num_loaded: int
    """Those that came from the file."""
    reshaped: tuple[str, ...]
    """What was brought to another size, and how."""
    dropped: tuple[str, ...]
    """What of the file has no place in the model."""
    not_initialised: tuple[str, ...]
    """What the file does not have: it starts as the seed has it, or at zero."""
    remarks: tuple[str, ...]
    """What the user should know."""

    def lines(self) -> list[str]:
        """The report for people."""
        lists = {
            "reshaped": self.reshaped,
            "dropped": self.dropped,
            "not initialised": self.not_initialised,
            "note": self.remarks,
        }
        first = f"{self.num_loaded} of {self.num_tensors} tensors, names of {self.layout}"
        return [first, *(f"{word}: {'; '.join(said)}" for word, said in lists.items() if said)]


@dataclass(frozen=True)
class Fitted:
    """A whole state of the model, and where it came from."""

    state: dict[str, Tensor]
    report: Report


@dataclass
class _Account:
    reshaped: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    """Descriptions of what starts without the file."""
    misfits: list[str] = field(default_factory=list)


_Adapt = Callable[[str, Tensor, Tensor, _Account], Tensor | None]
"""(name, the file's tensor, the model's, account) -> a tensor of the model's shape, or None if there is no way."""


@torch.no_grad()
def fit(found: Mapping[str, Tensor], own: Mapping[str, Tensor], frames: Frames = "continue") -> Fitted:
    """Bring published weights to the model's shapes; neither side is changed, and meta tensors will do.

    Args:
        found: the file's tensors, by the model's names.
        own: the model's fresh state, which stays where the file has nothing.
        frames: how the table of frames gets another length, see `resize_frames`.

    Raises:
        UserError: names are missing, unknown or of another shape; all of them are listed, long lists by their counts.
    """
    is_image = not any(TEMPORAL.fullmatch(name) for name in found)
    account, state, fresh = _Account(), dict(own), []
    adapt: dict[str, _Adapt] = {
        "pos_embed": _places,
        "time_embed": _frames(frames),
        "y_embedder.embedding_table.weight": _class_rows,
        "final_layer.linear.weight": _output_rows(own),
        "final_layer.linear.bias": _output_rows(own),
    }
    for name, wanted in own.items():
        if name in found:
            fitted = _as_it_is(found[name], wanted)
            if fitted is None and name in adapt and found[name].is_floating_point():
                fitted = adapt[name](name, found[name], wanted, account)
            if fitted is None:
                account.misfits.append(f"{name} is {_shape(found[name])}, the model's {_shape(wanted)}")
            else:
                state[name] = fitted
        elif _is_optional(name) or (is_image and TEMPORAL.fullmatch(name)):
            fresh.append(name)
    missing = [name for name in own if name not in found and name not in fresh]
    unexpected = [name for name in found if name not in own]
    if missing or unexpected or account.misfits:
        raise UserError(_complaint(found, own, missing, unexpected, account.misfits))
    layers = dict.fromkeys(name.rpartition(".")[0] or name for name in fresh)
    report = Report(
        layout="DiT" if is_image else "VDT",
        num_tensors=len(own),
        num_loaded=len(own) - len(fresh),
        reshaped=tuple(dict.fromkeys(account.reshaped)),
        dropped=tuple(dict.fromkeys(account.dropped)),
        not_initialised=(*grouped(layers), *dict.fromkeys(account.fresh)),
        remarks=_remarks(fresh, is_image),
    )
    return Fitted(state, report)


def grouped(names: Iterable[str]) -> list[str]:
    """Names (or lines that begin with one), those that differ by their block alone as one with the number of blocks."""
    counts: dict[str, int] = {}
    for name in names:
        pattern = _BLOCK.sub("blocks.*.", name)
        counts[pattern] = counts.get(pattern, 0) + 1
    return [
        f"{pattern} ({count} block{'s' * (count > 1)})" if "blocks.*" in pattern else pattern
        for pattern, count in counts.items()
    ]


def _as_it_is(tensor: Tensor, wanted: Tensor) -> Tensor | None:
    return tensor if tensor.shape == wanted.shape and tensor.is_floating_point() else None


def _places(name: str, tensor: Tensor, wanted: Tensor, account: _Account) -> Tensor | None:
    if tensor.ndim != 3 or tensor.shape[::2] != wanted.shape[::2]:
        return None
    try:
        resized = resize_places(tensor, wanted.shape[1])
    except ValueError:
        return None
    how = "bicubic, aligned centres" + (", antialiased" if wanted.shape[1] < tensor.shape[1] else "")
    account.reshaped.append(f"{name} {tensor.shape[1]} -> {wanted.shape[1]} tokens ({how})")
    return resized


def _frames(how: Frames) -> _Adapt:
    def adapt(name: str, tensor: Tensor, wanted: Tensor, account: _Account) -> Tensor | None:
        if tensor.ndim != 3 or tensor.shape[::2] != wanted.shape[::2]:
            return None
        old, new = tensor.shape[1], wanted.shape[1]
        done = "stretched linearly" if how == "stretch" else "its sinusoid continued" if new > old else "the first rows"
        account.reshaped.append(f"{name} {old} -> {new} frames ({done})")
        return resize_frames(tensor, new, how)

    return adapt


def _class_rows(name: str, tensor: Tensor, wanted: Tensor, account: _Account) -> Tensor | None:
    """A table of many classes, (classes + 1, D): both rows become its last one, 'no class'."""
    if tensor.ndim != 2 or tensor.shape[1] != wanted.shape[1] or len(tensor) <= len(wanted):
        return None
    account.reshaped.append(f"{name} {len(tensor):,} -> {len(wanted)} rows (the last, 'no class')")
    return tensor[-1:].expand(wanted.shape)


def _output_rows(own: Mapping[str, Tensor]) -> _Adapt:
    """The output with or without the variance; rows lie as (P, P, channel), the variance's channels are the last C."""

    def adapt(name: str, tensor: Tensor, wanted: Tensor, account: _Account) -> Tensor | None:
        _, C, P, _ = own["x_embedder.proj.weight"].shape
        rows = P * P * C
        if tensor.ndim != wanted.ndim or tensor.shape[1:] != wanted.shape[1:]:
            return None
        if (len(tensor), len(wanted)) == (2 * rows, rows):
            account.dropped.append("the variance's rows of final_layer.linear (this model has no learned variance)")
            return tensor.unflatten(0, (P * P, 2 * C))[:, :C].flatten(0, 1)
        if (len(tensor), len(wanted)) == (rows, 2 * rows):
            account.fresh.append("the variance's rows of final_layer.linear (zero)")
            both = tensor.new_zeros(P * P, 2 * C, *tensor.shape[1:])
            both[:, :C] = tensor.unflatten(0, (P * P, C))
            return both.flatten(0, 1)
        return None

    return adapt


def _is_optional(name: str) -> bool:
    """True for what an option of ours adds to the published model."""
    return bool(QK_NORM.fullmatch(name) or MASK_CHANNEL.fullmatch(name))


def _remarks(fresh: Iterable[str], is_image: bool) -> tuple[str, ...]:
    remarks = []
    if is_image:
        remarks.append("the file is an image model: time starts from the seed")
    if any(QK_NORM.fullmatch(name) for name in fresh):
        remarks.append("model.qk_norm changes what attention computes, and the file's weights have not learnt with it")
    return tuple(remarks)


def _complaint(
    found: Mapping[str, Tensor], own: Mapping[str, Tensor], missing: list[str], unexpected: list[str],
    misfits: list[str],
) -> str:  # fmt: skip
    parts = [
        f"{word}: {_listed(names)}"
        for word, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misfits))
        if names
    ]
    advice = "give the run the model of the file, or take another file"
    for pattern, option in ((QK_NORM, "model.qk_norm"), (MASK_CHANNEL, "model.mask_channel")):
        if any(pattern.fullmatch(name) for name in unexpected):
            advice += f"; the file was trained with {option}=true"
    sizes = [_size(tensors) for tensors in (found, own)]
    differing = f" (the file's model has {sizes[0]}, this one {sizes[1]})" if sizes[0] != sizes[1] else ""
    return f"the weights do not fit the model{differing}: {'; '.join(parts)}; {advice}"


def _listed(names: list[str]) -> str:
    groups = grouped(names)
    more = f" and {len(groups) - SHOWN} more" if len(groups) > SHOWN else ""
    return ", ".join(groups[:SHOWN]) + more


def _size(tensors: Mapping[str, Tensor]) -> str:
    embedder = tensors.get("x_embedder.proj.weight")
    if embedder is None or not embedder.ndim:
        return "no x_embedder"
    depth = len({name.split(".")[1] for name in tensors if _BLOCK.match(name)})
    return f"width {embedder.shape[0]}, {depth} blocks"


def _shape(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f" of {str(tensor.dtype).removeprefix('torch.')}"
    return " x ".join(map(str, tensor.shape)) + kind if tensor.ndim else f"a single number{kind}"
