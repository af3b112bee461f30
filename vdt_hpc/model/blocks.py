"""What VDT is made of: attention over time or space, the MLP, and the block with its adaLN-zero condition.

The stream of tokens stays in the type of the weights; under autocast the products alone are in bf16. What meets the
stream is brought to its type first. That changes no number: operations on mixed types do the same, several times slower
on a CPU.

Legend: B clips, T frames, N tokens per frame, D width, H heads, d width of a head.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention, (..., H, L, d) each -> (..., H, L, d), scaled by 1 / sqrt(d).

    On a CPU two plain matrix products and a softmax are faster than the fused kernel at 16 to 64 tokens, above all in
    the backward pass of bf16; on a GPU the fused kernel is used.
    """
    if query.device.type == "cpu":
        weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        return weights.softmax(-1) @ value
    return fused_attention(query, key, value)


def fused_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As `attend`, in one kernel, which keeps no weights of attention; it takes one leading dimension and no more."""
    q, k, v = (each.flatten(0, -4) for each in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v).unflatten(0, query.shape[:-3])


class HeadNorm(nn.RMSNorm):
    """RMSNorm over the width of a head, (..., d) -> (..., d), in the type of what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., d)."""
        assert self.weight is not None
        return functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Multi-head self-attention along one axis of (B, T, N, D).

    Args:
        width: D.
        num_heads: H.
        qk_norm: normalise queries and keys over each head's width (arXiv 2302.05442, section 2, with RMSNorm).
    """

    def __init__(self, width: int, num_heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.q_norm: HeadNorm | None = HeadNorm(width // num_heads, eps=1e-6) if qk_norm else None
        self.k_norm: HeadNorm | None = HeadNorm(width // num_heads, eps=1e-6) if qk_norm else None

    def forward(self, x: Tensor, over: Literal["time", "space"]) -> Tensor:
        """(B, T, N, D) -> (B, T, N, D); only the heads' queries, keys and values change layout, never x itself."""
        B, T, N, D = x.shape
        qkv = self.qkv(x).view(B, T, N, 3, self.num_heads, D // self.num_heads)
        order, back = ((3, 0, 2, 4, 1, 5), (0, 3, 1, 2, 4)) if over == "time" else ((3, 0, 1, 4, 2, 5), (0, 1, 3, 2, 4))
        query, key, value = qkv.permute(order).unbind(0)  # (B, N, H, T, d) or (B, T, H, N, d)
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        mixed: Tensor = self.proj(attend(query, key, value).permute(back).reshape(B, T, N, D))
        return mixed


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form, x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3) (arXiv 1606.08415).

    Compiled, the same is written x sigmoid(2 u): of what the compiler makes for a CPU, that takes half the time.
    """
    if torch.compiler.is_compiling():
        return x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x.square()))
    return functional.gelu(x, approximate="tanh")


class Mlp(nn.Module):
    """Two linear layers with a GELU (tanh form) between them, hidden width 4 D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        out: Tensor = self.fc2(gelu(self.fc1(x)))
        return out


@dataclass(frozen=True)
class Condition:
    """What the model knows of the diffusion times, in as few rows as there are distinct ones."""

    rows: Tensor
    """(R, D): a row per clip, or one for all clips; then one of time 0, if frames have their own times."""
    is_given: Tensor | None = None
    """(B, T, 1, 1) bool, True where a frame is given as a whole and takes the last row; None: one time per clip."""

    def modulation(self, layers: nn.Module) -> Tensor:
        """What adaLN's layers make of it, (B or 1, T or 1, 1, k D): computed by row, then chosen by frame."""
        rows: Tensor = layers(self.rows)[:, None, None]
        return rows if self.is_given is None else torch.where(self.is_given, rows[-1:], rows[:-1])


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without own weights, then scale and shift; x (B, T, N, D), the others (B or 1, T or 1, 1, D)."""
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale).to(x.dtype) + shift.to(x.dtype)


class Block(nn.Module):
    """Temporal attention (plain residual), then spatial attention and MLP (adaLN-zero)."""

    def __init__(self, width: int, num_heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.attn = Attention(width, num_heads, qk_norm)
        self.mlp = Mlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.temporal_norm1 = nn.LayerNorm(width, eps=1e-5)
        self.temporal_attn = Attention(width, num_heads, qk_norm)
        self.temporal_fc = nn.Linear(width, width)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        """X (B, T, N, D) -> (B, T, N, D)."""
        modulation = condition.modulation(self.adaLN_modulation).chunk(6, dim=-1)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = modulation
        over_time = self.temporal_fc(self.temporal_attn(self.temporal_norm1(x), "time"))
        x = x + over_time.to(x.dtype)
        over_space = self.attn(modulate(x, shift_attn, scale_attn), "space")
        x = x + (gate_attn * over_space).to(x.dtype)
        return x + (gate_mlp * self.mlp(modulate(x, shift_mlp, scale_mlp))).to(x.dtype)
