"""The sections of a run configuration that decide the model, its initial weights and its objective."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vdt_hpc.experiment.section import HOW, OPTION, FiniteFloat, PositiveFloat, PositiveInt, Section

PresetName = Literal["VDT-L/2", "VDT-B/2", "VDT-S/2", "VDT-XS/2", "VDT-Ti/2"]
PRESETS: dict[PresetName, dict[str, int]] = {
    "VDT-L/2": {"width": 1152, "depth": 28, "num_heads": 16, "patch_size": 2},
    "VDT-B/2": {"width": 768, "depth": 12, "num_heads": 12, "patch_size": 2},
    "VDT-S/2": {"width": 384, "depth": 12, "num_heads": 6, "patch_size": 2},
    "VDT-XS/2": {"width": 192, "depth": 8, "num_heads": 3, "patch_size": 2},
    "VDT-Ti/2": {"width": 128, "depth": 4, "num_heads": 4, "patch_size": 2},
}
"""Sizes by name; L and S are the published ones (arXiv 2305.13311, table 1)."""


class ModelConfig(Section):
    """The video diffusion transformer (VDT, arXiv 2305.13311, table 1)."""

    preset: Annotated[PresetName | None, HOW] = None
    """Name of a size, which sets the four fields below; null: they stand alone."""
    width: PositiveInt = 1152
    """Width D of a token; a multiple of `num_heads` and of 4."""
    depth: PositiveInt = 28
    """Number of transformer blocks."""
    num_heads: PositiveInt = 16
    """Attention heads, spatial and temporal."""
    patch_size: PositiveInt = 2
    """Latent cells along one side of a token."""
    num_frames: PositiveInt = 30
    """Frames T that the model sees at once; at most `data.frames_per_clip`."""
    mask_channel: Annotated[bool, OPTION] = False
    """The model also sees the mask, through an embedding that starts at zero. The published model does not."""
    frame_times: Annotated[bool, OPTION] = False
    """Every frame has its own diffusion time, 0 where the whole frame is given. Published: one time for all."""
    qk_norm: Annotated[bool, OPTION] = False
    """Queries and keys are normalised in every attention (arXiv 2302.05442, section 2). Published: they are not."""
    zero_temporal: Annotated[bool, OPTION] = False
    """The temporal path's output starts at zero, so that the model starts with frames apart. Published: it does not."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, tree: Any) -> Any:
        preset = tree.get("preset") if isinstance(tree, dict) else None
        if not isinstance(preset, str) or preset not in PRESETS:
            return tree
        for name, value in PRESETS[preset].items():
            if tree.get(name, value) != value:
                raise ValueError(
                    f"{name} is {tree[name]}, but preset {preset} has {value}; set preset to null and give "
                    f"{', '.join(PRESETS[preset])}"
                )
        return {**tree, **PRESETS[preset]}

    @model_validator(mode="after")
    def _divisible(self) -> "ModelConfig":
        if self.width % self.num_heads or self.width % 4:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads} and of 4")
        return self


class InitConfig(Section):
    """Where the initial weights come from, beyond the seed."""

    from_: Annotated[str | None, OPTION, Field(alias="from")] = None
    """Weights of VDT (official format, a file of one of our checkpoints, an exported folder), or of DiT-XL/2 for the
    spatial half: a .safetensors, .pt, .pth or .bin file, or a folder; absolute, or under the checkout or the folder of
    weights (`weights`, or $VDT_HPC_WEIGHTS). Null: none."""
    frames: Annotated[Literal["continue", "stretch"], OPTION] = "continue"
    """How the table of frames is resized. `continue`: frame i keeps its row, further frames go on from there.
    `stretch`: the rows are spread over the new number of frames, first and last at the ends."""


class DiffusionConfig(Section):
    """The forward process and the loss."""

    num_train_steps: PositiveInt = 1000
    """Diffusion times; all of them are trained."""
    beta_start: PositiveFloat = 1e-4
    """First beta of the linear schedule."""
    beta_end: PositiveFloat = 0.02
    """Last beta of the linear schedule."""
    prediction: Literal["noise", "velocity", "flow"] = "noise"
    """What the model says: `noise`, as published; `velocity` (arXiv 2202.00512, appendix D), which learns the
    coarse picture in far fewer updates; or `flow`, the velocity of the straight path between data and noise (rectified
    flow, arXiv 2209.03003), which has no betas and any time between 0 and 1."""
    variance: Annotated[Literal["learned", "fixed"], OPTION] = "learned"
    """`learned`: between the bounds of arXiv 2102.09672, with the variational bound in the loss, as published.
    `fixed`: the posterior's. Of no meaning with `flow`."""
    min_snr_gamma: Annotated[PositiveFloat | None, OPTION] = None
    """Bound on the signal-to-noise ratio that weights the error (arXiv 2303.09556); null: no weights. 5 is usual."""
    flow_times: Annotated[Literal["uniform", "logit-normal"], OPTION] = "uniform"
    """How training draws the times of `flow`; `logit-normal`: more of the middle (arXiv 2403.03206, section 3.1)."""
    logit_normal_mean: Annotated[FiniteFloat, OPTION] = 0.0
    """Mean of the logit of a time."""
    logit_normal_std: Annotated[PositiveFloat, OPTION] = 1.0
    """Standard deviation of the logit of a time."""

    @model_validator(mode="after")
    def _possible(self) -> "DiffusionConfig":
        if self.beta_start > self.beta_end or self.beta_end >= 1:
            raise ValueError("betas must rise from beta_start to beta_end, below 1")
        if self.prediction == "flow" and self.min_snr_gamma is not None:
            raise ValueError("min_snr_gamma is for noise and velocity; flow weights times by flow_times")
        return self

    @property
    def learns_variance(self) -> bool:
        """True if the model also says a variance, in as many channels again."""
        return self.variance == "learned" and self.prediction != "flow"
