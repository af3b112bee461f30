"""What a run's model is built with, for whoever builds it or writes it down."""

from typing import Any

from vdt_hpc.experiment.config import RunConfig


def arguments(config: RunConfig) -> dict[str, Any]:
    """The arguments of `vdt_hpc.model.vdt.VDT`, by name; plain values, as JSON holds them."""
    channels = config.autoencoder.latent_channels
    return {
        "latent_size": config.latent_height,
        "channels": channels,
        "out_channels": 2 * channels if config.diffusion.learns_variance else channels,
        **config.model.model_dump(exclude={"preset"}),
    }
