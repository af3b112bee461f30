"""A run's model as diffusers knows models: `VdtModel.from_pretrained(FOLDER)` reads an export.

Importing this module imports diffusers, which is slow; nothing of the pipeline does.
"""

from typing import Literal

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from vdt_hpc.model.vdt import VDT


class VdtModel(VDT, ModelMixin, ConfigMixin):
    """`VDT` with `from_pretrained` and `save_pretrained`; its state dict has the published names.

    Args:
        latent_size, num_frames, channels, width, depth, num_heads, patch_size, out_channels, mask_channel, frame_times,
            qk_norm, zero_temporal: as of `VDT`.
        prediction: what the output says, see `DiffusionConfig`.
        variance: `learned`: half of the output's channels interpolate it.
        num_train_steps, beta_start, beta_end: the forward process; betas mean nothing to a flow.
        scaling_factor: the model's latents are the autoencoder's, times this.
    """

    @register_to_config
    def __init__(
        self,
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
        prediction: Literal["noise", "velocity", "flow"] = "noise",
        variance: Literal["learned", "fixed"] = "learned",
        num_train_steps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__(
            latent_size=latent_size, num_frames=num_frames, channels=channels, width=width, depth=depth,
            num_heads=num_heads, patch_size=patch_size, out_channels=out_channels, mask_channel=mask_channel,
            frame_times=frame_times, qk_norm=qk_norm, zero_temporal=zero_temporal,
        )  # fmt: skip
