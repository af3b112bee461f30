"""The video diffusion transformer VDT (arXiv 2305.13311, section 3), with the published order, names and start.

Every block attends over time, then over space, then applies an MLP; the diffusion time enters through adaLN-zero
(DiT, arXiv 2212.09748, section 3.2) in the spatial half only. Attribute names are those of the published state dict.

Legend: B clips, T frames, N tokens per frame, D width, H heads, C latent channels, h x w latent cells, P patch side.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from vdt_hpc.experiment.config import RunConfig

TIME_FEATURES = 256
PERIOD = 10_000.0


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention, (..., L, d) each -> (..., L, d), scaled by 1 / sqrt(d).

    On a CPU two plain matrix products and a softmax are faster than the fused kernel at 16 to 64 tokens, above all in
    the backward pass of bf16; on a GPU the fused kernel is used.
    """
    if query.device.type == "cpu":
        weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        return weights.softmax(-1) @ value
    return functional.scaled_dot_product_attention(query, key, value)


class Attention(nn.Module):
    """Multi-head self-attention along one axis of (B, T, N, D)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, over: Literal["time", "space"]) -> Tensor:
        """(B, T, N, D) -> (B, T, N, D); only the heads' queries, keys and values change layout, never x itself."""
        B, T, N, D = x.shape
        qkv = self.qkv(x).view(B, T, N, 3, self.num_heads, D // self.num_heads)
        order, back = ((3, 0, 2, 4, 1, 5), (0, 3, 1, 2, 4)) if over == "time" else ((3, 0, 1, 4, 2, 5), (0, 1, 3, 2, 4))
        query, key, value = qkv.permute(order).unbind(0)  # (B, N, H, T, d) or (B, T, H, N, d)
        mixed: Tensor = self.proj(attend(query, key, value).permute(back).reshape(B, T, N, D))
        return mixed


class Mlp(nn.Module):
    """Two linear layers with a GELU (tanh form) between them, hidden width 4 D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))
        return out


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without own weights, then scale and shift from the condition; x (B, T, N, D), others (B, 1, 1, D)."""
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Block(nn.Module):
    """Temporal attention (plain residual), then spatial attention and MLP (adaLN-zero)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, num_heads)
        self.mlp = Mlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.temporal_norm1 = nn.LayerNorm(width, eps=1e-5)
        self.temporal_attn = Attention(width, num_heads)
        self.temporal_fc = nn.Linear(width, width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """X (B, T, N, D), condition (B, D) -> (B, T, N, D)."""
        modulation = self.adaLN_modulation(condition)[:, None, None].chunk(6, dim=-1)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = modulation
        x = x + self.temporal_fc(self.temporal_attn(self.temporal_norm1(x), "time"))
        x = x + gate_attn * self.attn(modulate(x, shift_attn, scale_attn), "space")
        return x + gate_mlp * self.mlp(modulate(x, shift_mlp, scale_mlp))


class PatchEmbedder(nn.Module):
    """A strided convolution that turns P x P latent cells into a token."""

    def __init__(self, channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, h, w) -> (B, T, N, D), tokens row by row."""
        tokens = self.proj(x.flatten(0, 1)).flatten(2).transpose(1, 2)
        out: Tensor = tokens.unflatten(0, x.shape[:2])
        return out


class TimeEmbedder(nn.Module):
    """Sinusoidal features of the diffusion time, then two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, times: Tensor) -> Tensor:
        """(B,) in 0 .. num_train_steps - 1 -> (B, D)."""
        half = TIME_FEATURES // 2
        exponents = torch.arange(half, dtype=torch.float32, device=times.device) / half
        angles = times.float()[:, None] * torch.exp(-math.log(PERIOD) * exponents)
        embedded: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(self._dtype()))
        return embedded

    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class ClassEmbedder(nn.Module):
    """The published table of one class and one 'no class' row; row 0 is always used, no label is ever dropped."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(2, width)

    def forward(self) -> Tensor:
        """The condition's constant part, (D,)."""
        return self.embedding_table.weight[0]


class FinalLayer(nn.Module):
    """adaLN, then one linear layer to the output cells of a token."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """X (B, T, N, D), condition (B, D) -> (B, T, N, outputs)."""
        shift, scale = self.adaLN_modulation(condition)[:, None, None].chunk(2, dim=-1)
        out: Tensor = self.linear(modulate(x, shift, scale))
        return out


class VDT(nn.Module):
    """The model: noisy (or given) latents and a diffusion time in, noise and variance out.

    Args:
        latent_size: latent cells along one side; h = w.
        num_frames: frames T.
        channels: latent channels C.
        width, depth, num_heads, patch_size: as in `ModelConfig`.

    Raises:
        ValueError: `latent_size` is no multiple of `patch_size`.
    """

    pos_embed: Tensor
    time_embed: Tensor

    def __init__(
        self,
        *,
        latent_size: int,
        num_frames: int,
        channels: int,
        width: int,
        depth: int,
        num_heads: int,
        patch_size: int,
    ) -> None:
        super().__init__()
        if latent_size % patch_size:
            raise ValueError(f"latent size {latent_size} is no multiple of patch size {patch_size}")
        self.channels, self.patch_size, self.side = channels, patch_size, latent_size // patch_size
        self.x_embedder = PatchEmbedder(channels, width, patch_size)
        self.t_embedder = TimeEmbedder(width)
        self.y_embedder = ClassEmbedder(width)
        self.register_buffer("pos_embed", position_table(self.side, width))
        self.register_buffer("time_embed", frame_table(num_frames, width))
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(depth))
        self.final_layer = FinalLayer(width, patch_size**2 * 2 * channels)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """Predict the noise and the variance's interpolation.

        Args:
            x: (B, T, C, h, w); noisy where the mask says generate, clean where it says given.
            times: (B,) diffusion times, the same for all frames of a clip.

        Returns:
            (B, T, 2C, h, w): noise in the first C channels, v in the others (arXiv 2102.09672, equation 15).
        """
        condition = self.t_embedder(times) + self.y_embedder()
        tokens = self.x_embedder(x) + self.pos_embed[:, None] + self.time_embed[:, :, None]
        for block in self.blocks:
            tokens = block(tokens, condition)
        return self._cells(self.final_layer(tokens, condition))

    def _cells(self, tokens: Tensor) -> Tensor:
        """(B, T, N, P * P * 2C) -> (B, T, 2C, h, w)."""
        B, T = tokens.shape[:2]
        side, P = self.side, self.patch_size
        cells = tokens.view(B, T, side, side, P, P, 2 * self.channels)
        return cells.permute(0, 1, 6, 2, 4, 3, 5).reshape(B, T, 2 * self.channels, side * P, side * P)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Set every weight: xavier for linear layers, zero for adaLN and the output, so that spatial blocks start as
        the identity (DiT, section 3.2). The temporal path is not zero at the start, as published.
        """
        linears = [module for module in self.modules() if isinstance(module, nn.Linear)]
        for linear in linears:
            nn.init.xavier_uniform_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)
        nn.init.xavier_uniform_(self.x_embedder.proj.weight.flatten(1), generator=generator)
        assert self.x_embedder.proj.bias is not None
        nn.init.zeros_(self.x_embedder.proj.bias)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        for weight in (self.y_embedder.embedding_table.weight, *self._time_weights()):
            nn.init.normal_(weight, std=0.02, generator=generator)
        for layer in self._zero_layers():
            nn.init.zeros_(layer.weight)
        self.pos_embed.copy_(position_table(self.side, self.pos_embed.shape[-1]))
        self.time_embed.copy_(frame_table(self.time_embed.shape[1], self.time_embed.shape[-1]))

    def _time_weights(self) -> Iterator[Tensor]:
        return (layer.weight for layer in self.t_embedder.mlp if isinstance(layer, nn.Linear))

    def _zero_layers(self) -> list[nn.Linear]:
        owners = [*self.blocks, self.final_layer]
        layers = [owner.adaLN_modulation[1] for owner in owners]
        return [*layers, self.final_layer.linear]


def build(config: RunConfig, seed: int | None = None) -> VDT:
    """The model of a run, on the CPU.

    Args:
        seed: seed of the initial weights; None leaves them unset, for a state dict that is loaded next.
    """
    model = config.model
    with torch.device("meta"):  # no weight is drawn twice
        vdt = VDT(
            latent_size=config.latent_height, num_frames=model.num_frames, channels=config.autoencoder.latent_channels,
            width=model.width, depth=model.depth, num_heads=model.num_heads, patch_size=model.patch_size,
        )  # fmt: skip
    vdt = vdt.to_empty(device="cpu")
    if seed is not None:
        vdt.initialise(torch.Generator().manual_seed(seed))
    return vdt


def frame_table(num_frames: int, width: int) -> Tensor:
    """Sinusoidal table of the frame's number, (1, T, D): [sin | cos]."""
    return _sinusoids(torch.arange(num_frames, dtype=torch.float64), width)[None].float()


def position_table(side: int, width: int) -> Tensor:
    """Sinusoidal table of a token's place, (1, N, D): first half from its column, second half from its row."""
    place = torch.arange(side, dtype=torch.float64)
    row, column = torch.meshgrid(place, place, indexing="ij")
    halves = [_sinusoids(axis.flatten(), width // 2) for axis in (column, row)]
    return torch.cat(halves, dim=-1)[None].float()


def _sinusoids(values: Tensor, width: int) -> Tensor:
    """(L,) -> (L, width): [sin | cos] at periods 2 pi to 2 pi x 10,000 (arXiv 1706.03762, section 3.5)."""
    exponents = torch.arange(width // 2, dtype=torch.float64) / (width / 2)
    angles = values[:, None] * PERIOD**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
