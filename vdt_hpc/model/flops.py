"""Floating-point operations of the model, counted from its configuration."""

from vdt_hpc.experiment.config import RunConfig

TIME_FEATURES = 256
MATRICES_PER_BLOCK = 17
"""D x D products of a token in a block: 5 temporal (query, key, value, two outputs), 4 spatial, 8 of the MLP."""


def forward_flops(config: RunConfig) -> float:
    """Operations of one clip's forward pass, 2 per multiply-add; matrix products and attention only."""
    model, channels = config.model, config.autoencoder.latent_channels
    D, T, N = model.width, model.num_frames, (config.latent_height // model.patch_size) ** 2
    cell_values = model.patch_size**2 * channels
    attention = 2 * (T + N) * D  # query x key and weights x value, over time and over space
    per_token = model.depth * (MATRICES_PER_BLOCK * D * D + attention) + cell_values * D + D * 2 * cell_values
    per_clip = model.depth * 6 * D * D + 2 * D * D + TIME_FEATURES * D + D * D  # adaLN, diffusion time
    return 2.0 * (T * N * per_token + per_clip)
