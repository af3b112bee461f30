"""The video diffusion transformer VDT (arXiv 2305.13311, section 3), with the published order, names and start.

Every block attends over time, then over space, then applies an MLP; the diffusion time enters through adaLN-zero
(DiT, arXiv 2212.09748, section 3.2) in the spatial half only. Attribute names are those of the published state dict.

Legend: B clips, T frames, N tokens per frame, D width, H heads, C latent channels, h x w latent cells, P patch side.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vdt_hpc.experiment import architecture
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.model.blocks import Block, Condition, modulate
from vdt_hpc.model.masks import GIVEN
from vdt_hpc.model.tables import PERIOD, frame_table, position_table

TIME_FEATURES = 256


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


class MaskEmbedder(nn.Module):
    """The mask's part of a token; it starts at zero, so that published weights mean the same with and without it."""

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, patch_size, patch_size, bias=False)

    def forward(self, mask: Tensor, side: int) -> Tensor:
        """(B, T, 1, h or 1, w or 1) -> (B, T, N, D), for latents of `side` x `side` cells."""
        cells = mask.expand(*mask.shape[:3], side, side).to(self.proj.weight.dtype)
        out: Tensor = self.proj(cells.flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, mask.shape[:2])
        return out


class TimeEmbedder(nn.Module):
    """Sinusoidal features of the diffusion time, then two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, times: Tensor) -> Tensor:
        """(B,) from 0 to num_train_steps -> (B, D)."""
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

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        """X (B, T, N, D) -> (B, T, N, outputs)."""
        shift, scale = condition.modulation(self.adaLN_modulation).chunk(2, dim=-1)
        out: Tensor = self.linear(modulate(x, shift, scale))
        return out


class VDT(nn.Module):
    """The model: noisy (or given) latents and a diffusion time in, noise and variance out.

    Args:
        latent_size: latent cells along one side; h = w.
        num_frames: frames T.
        channels: latent channels C.
        out_channels: channels of what it says: 2C with a variance, else C.
        width, depth, num_heads, patch_size, mask_channel, frame_times, qk_norm, zero_temporal: as in `ModelConfig`.

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
        out_channels: int | None = None,
        mask_channel: bool = False,
        frame_times: bool = False,
        qk_norm: bool = False,
        zero_temporal: bool = False,
    ) -> None:
        super().__init__()
        if latent_size % patch_size:
            raise ValueError(f"latent size {latent_size} is no multiple of patch size {patch_size}")
        self.channels, self.out_channels = channels, 2 * channels if out_channels is None else out_channels
        self.patch_size, self.side = patch_size, latent_size // patch_size
        self._frame_times, self._zero_temporal = frame_times, zero_temporal
        self.x_embedder = PatchEmbedder(channels, width, patch_size)
        self.mask_embedder = MaskEmbedder(width, patch_size) if mask_channel else None
        self.t_embedder = TimeEmbedder(width)
        self.y_embedder = ClassEmbedder(width)
        self.register_buffer("pos_embed", position_table(self.side, width))
        self.register_buffer("time_embed", frame_table(num_frames, width))
        self.blocks = nn.ModuleList(Block(width, num_heads, qk_norm) for _ in range(depth))
        self.final_layer = FinalLayer(width, patch_size**2 * self.out_channels)
        self.checkpointing = False
        """Keep only the input of each block, and compute it again in the backward pass."""

    def forward(self, x: Tensor, times: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predict the noise (or what else was trained) and the variance's interpolation.

        Args:
            x: (B, T, C, h, w); noisy where the mask says generate, clean where it says given.
            times: (B,) diffusion times, or (1,) where all clips share one; then what is computed from it does not
                depend on B, not even in the last bit.
            mask: (B, T, 1, h or 1, w or 1), 1 = generate; read with `mask_channel` and `frame_times` alone.

        Returns:
            (B, T, 2C, h, w): noise in the first C channels, v in the others (arXiv 2102.09672, equation 15); without a
            variance (B, T, C, h, w).
        """
        condition = self._condition(times, mask)
        tokens = self.x_embedder(x) + self.pos_embed[:, None] + self.time_embed[:, :, None]
        if self.mask_embedder is not None:
            assert mask is not None, "this model also sees the mask"
            tokens = tokens + self.mask_embedder(mask, x.shape[-1])
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, condition, use_reentrant=False)
            else:
                tokens = block(tokens, condition)
        return self._cells(self.final_layer(tokens, condition))

    def _condition(self, times: Tensor, mask: Tensor | None) -> Condition:
        """One row per time; with times of frames, one more for those that are given."""
        if not self._frame_times:
            return Condition(self.t_embedder(times) + self.y_embedder())
        assert mask is not None, "frames have their own times in this model, which follow from the mask"
        with_given = torch.cat([times, times.new_zeros(1)])
        is_given = (mask == GIVEN).flatten(2).all(-1)[..., None, None]
        return Condition(self.t_embedder(with_given) + self.y_embedder(), is_given)

    def _cells(self, tokens: Tensor) -> Tensor:
        """(B, T, N, P * P * outputs) -> (B, T, outputs, h, w)."""
        B, T = tokens.shape[:2]
        side, P, outputs = self.side, self.patch_size, self.out_channels
        cells = tokens.view(B, T, side, side, P, P, outputs)
        return cells.permute(0, 1, 6, 2, 4, 3, 5).reshape(B, T, outputs, side * P, side * P)

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
            if isinstance(module, nn.LayerNorm | nn.RMSNorm):
                module.reset_parameters()
        for weight in (self.y_embedder.embedding_table.weight, *self._time_weights()):
            nn.init.normal_(weight, std=0.02, generator=generator)
        for weight in self._zero_weights():
            nn.init.zeros_(weight)
        self.pos_embed.copy_(position_table(self.side, self.pos_embed.shape[-1]))
        self.time_embed.copy_(frame_table(self.time_embed.shape[1], self.time_embed.shape[-1]))

    def _time_weights(self) -> Iterator[Tensor]:
        return (layer.weight for layer in self.t_embedder.mlp if isinstance(layer, nn.Linear))

    def _zero_weights(self) -> list[Tensor]:
        layers: list[Any] = [owner.adaLN_modulation[1] for owner in (*self.blocks, self.final_layer)]
        layers.append(self.final_layer.linear)
        if self._zero_temporal:
            layers += [block.temporal_fc for block in self.blocks]
        if self.mask_embedder is not None:
            layers.append(self.mask_embedder.proj)
        return [layer.weight for layer in layers]


def build(config: RunConfig, seed: int | None = None) -> VDT:
    """The model of a run, on the CPU.

    Args:
        seed: seed of the initial weights; None leaves them unset, for a state dict that is loaded next.
    """
    with torch.device("meta"):  # no weight is drawn twice
        vdt = VDT(**architecture.arguments(config))
    vdt = vdt.to_empty(device="cpu")
    if seed is not None:
        vdt.initialise(torch.Generator().manual_seed(seed))
    return vdt
