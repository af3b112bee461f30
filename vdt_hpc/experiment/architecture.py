"""What a run's model and its scheduler are built with, for whoever builds them or writes them down."""

from typing import Any

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.model_config import DiffusionConfig


def arguments(config: RunConfig) -> dict[str, Any]:
    """The arguments of `vdt_hpc.model.vdt.VDT`, by name; plain values, as JSON holds them.

    Raises:
        UserError: the latents are no squares, which the published model takes alone.
    """
    if config.latent_width != config.latent_height:
        raise UserError(
            f"the model takes square latents, not {config.latent_width} x {config.latent_height}: frames of "
            f"{config.data.width_px} x {config.data.frame_height_px} px can be encoded, not trained on"
        )
    channels = config.autoencoder.latent_channels
    return {
        "latent_size": config.latent_height,
        "channels": channels,
        "out_channels": 2 * channels if config.diffusion.learns_variance else channels,
        **config.model.model_dump(exclude={"preset"}),
    }


def process_arguments(diffusion: DiffusionConfig) -> dict[str, Any]:
    """The arguments by which every scheduler of diffusers for noise or velocity knows the forward process."""
    return {
        "num_train_timesteps": diffusion.num_train_steps,
        "beta_start": diffusion.beta_start,
        "beta_end": diffusion.beta_end,
        "beta_schedule": "linear",
        "prediction_type": {"noise": "epsilon", "velocity": "v_prediction"}[diffusion.prediction],
    }


def ddpm_arguments(diffusion: DiffusionConfig) -> dict[str, Any]:
    """The arguments of diffusers' DDPMScheduler: spaced as improved DDPM and DiT, latents not clipped."""
    return {
        **process_arguments(diffusion),
        "variance_type": "learned_range" if diffusion.learns_variance else "fixed_small",
        "timestep_spacing": "linspace",
        "clip_sample": False,
    }
