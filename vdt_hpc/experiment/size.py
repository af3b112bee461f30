"""How large a run is, counted from its configuration: operations, weights, bytes of checkpoints and latents.

Legend: T frames, N tokens per frame, D width, P patch side, C latent channels, h x w latent cells.
"""

from collections.abc import Mapping

from vdt_hpc.experiment.config import RunConfig, Split

TIME_FEATURES = 256
MATRICES_PER_BLOCK = 17
"""D x D products of a token in a block: 5 temporal (query, key, value, two outputs), 4 spatial, 8 of the MLP."""
TRAINING_PASSES = 3
"""A backward pass takes twice the operations of the forward pass."""
MEASURED_SPLITS: tuple[Split, ...] = ("val", "test")
"""Splits whose true frames are kept beside the latents."""

_SHARD_MARGIN = 1.02
"""Bytes of a shard over those of its arrays."""
_CLASSES = 2
_HALF_BYTES = 2
_MOMENTS_PER_CLIP = 2  # mean and standard deviation


def forward_flops(config: RunConfig) -> float:
    """Operations of one clip's forward pass, 2 per multiply-add; matrix products and attention only.

    With `model.frame_times`, the row of time 0 that all clips of a micro-batch share is left out.
    """
    D, T, N = config.model.width, config.model.num_frames, num_tokens(config)
    attention = 2 * (T + N) * D  # query x key and weights x value, over time and over space
    ends = _input_values(config) * D + D * _output_values(config)
    per_token = config.model.depth * (MATRICES_PER_BLOCK * D * D + attention) + ends
    per_clip = config.model.depth * 6 * D * D + 2 * D * D + TIME_FEATURES * D + D * D  # adaLN, diffusion time
    return 2.0 * (T * N * per_token + per_clip)


def training_flops(config: RunConfig) -> float:
    """Operations of one clip in training, forward and backward."""
    return TRAINING_PASSES * forward_flops(config)


def num_parameters(config: RunConfig) -> int:
    """Numbers that training changes; the two tables of places and frames are fixed and not among them."""
    D = config.model.width
    attention = _linear(D, 3 * D) + _linear(D, D) + (2 * D // config.model.num_heads if config.model.qk_norm else 0)
    mlp = _linear(D, 4 * D) + _linear(4 * D, D)
    block = 2 * attention + mlp + _linear(D, 6 * D) + 2 * D + _linear(D, D)  # 2 D: the temporal norm
    embedders = _linear(_input_values(config), D) + _linear(TIME_FEATURES, D) + _linear(D, D) + _CLASSES * D
    final = _linear(D, _output_values(config)) + _linear(D, 2 * D)
    return config.model.depth * block + embedders + final


def checkpoint_bytes(config: RunConfig) -> int:
    """Bytes of a checkpoint's tensors: model and average with their fixed tables, and AdamW's two moments."""
    tables = (num_tokens(config) + config.model.num_frames) * config.model.width
    size = 8 if config.train.precision == "fp64" else 4
    return size * (4 * num_parameters(config) + 2 * tables)


def latents_bytes(config: RunConfig, split: Split) -> int:
    """Bytes that a clip of a split takes at least in a shard: its moments and, where it is measured, its frames."""
    flips = 2 if config.autoencoder.both_flips else 1
    cells = config.autoencoder.latent_channels * config.latent_height * config.latent_width
    T = config.data.frames_per_clip
    frames = T * config.data.frame_height_px * config.data.width_px * 3 if split in MEASURED_SPLITS else 0
    return _MOMENTS_PER_CLIP * _HALF_BYTES * flips * T * cells + frames


def shards_bytes(config: RunConfig, num_clips: Mapping[Split, int]) -> int:
    """Bytes of the shards of that many clips, by split."""
    return round(_SHARD_MARGIN * sum(count * latents_bytes(config, split) for split, count in num_clips.items()))


def num_shards(config: RunConfig, num_clips: Mapping[Split, int]) -> int:
    """Shards of that many clips, by split."""
    return sum(-(-count // config.autoencoder.clips_per_shard) for count in num_clips.values())


def num_tokens(config: RunConfig) -> int:
    """Tokens N of a frame."""
    return (config.latent_height // config.model.patch_size) ** 2


def _input_values(config: RunConfig) -> int:
    """P x P x C that a token is made of, and P x P of its mask where the model sees it."""
    channels = config.autoencoder.latent_channels + config.model.mask_channel
    return config.model.patch_size**2 * channels


def _output_values(config: RunConfig) -> int:
    """What a token is turned into: P x P x C, and as many again where a variance is learned."""
    channels = config.autoencoder.latent_channels * (2 if config.diffusion.learns_variance else 1)
    return config.model.patch_size**2 * channels


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs
