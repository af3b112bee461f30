"""The sections of a run configuration that decide its frames and latents."""

from typing import Annotated, Literal

from vdt_hpc.experiment.section import HOW, WHERE, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section


class DataConfig(Section):
    """Which clips, and how their frames become squares of pixels."""

    dataset: str = "cityscapes"
    """Name of the data set in tables; results are compared only within one name."""
    source: Literal["cityscapes", "videos"] = "cityscapes"
    """`cityscapes`: a tree in the layout of leftImg8bit_sequence. `videos`: a folder of video files."""
    root: Annotated[str, WHERE] = "data/cityscapes"
    """Folder that holds leftImg8bit_sequence/, or the video files. Relative: under the current directory."""
    frames_per_clip: PositiveInt = 30
    """Frames in one clip; a sequence of another length is a fault that is named."""
    frame_height_px: PositiveInt = 128
    """Height, and width, of the square frame that the autoencoder sees, in pixels."""
    crop: Literal["centre-square"] = "centre-square"
    """What is cut out of the camera's frame before it is resized."""
    resize: Literal["lanczos"] = "lanczos"
    """Resampling filter, on uint8 (Pillow's)."""
    val_clips_per_video: NonNegativeInt = 1
    """`videos` without train/val/test folders: clips before each video's test clips that become validation clips."""
    test_clips_per_video: NonNegativeInt = 1
    """`videos` without train/val/test folders: last clips of each video that become test clips."""


class StreetsConfig(Section):
    """Made-up driving clips (stage `streets`)."""

    seed: NonNegativeInt = 0
    """Seed of the worlds; a clip is a pure function of (seed, split, index)."""
    num_train_clips: PositiveInt = 160
    """Clips in the training split."""
    num_val_clips: PositiveInt = 16
    """Clips in the validation split."""
    num_test_clips: PositiveInt = 16
    """Clips in the test split."""
    frame_width_px: PositiveInt = 256
    """Width of the written PNG files, in pixels."""
    frame_height_px: PositiveInt = 128
    """Height of the written PNG files, in pixels."""


class AutoencoderConfig(Section):
    """The autoencoder between pixels and latents."""

    source: str = "stabilityai/sd-vae-ft-mse"
    """A diffusers AutoencoderKL: a folder (relative: under the checkout), or the name of a model on the hub."""
    latent_channels: PositiveInt = 4
    """Channels of a latent."""
    downsampling: PositiveInt = 8
    """Pixels per latent cell along one axis."""
    both_flips: bool = True
    """Also encode the horizontally flipped frames, so that training may flip."""
    clips_per_shard: PositiveInt = 64
    """Clips in one HDF5 shard."""
    frames_per_batch: Annotated[PositiveInt, HOW] = 60
    """Frames that pass the autoencoder at once."""


class AutoencoderTrainingConfig(Section):
    """Training of a small autoencoder on the run's own frames (stage `autoencoder`)."""

    output: Annotated[str, WHERE] = "configs/autoencoder/streets"
    """Folder for the weights, in the diffusers layout. Relative: under the checkout."""
    block_channels: tuple[PositiveInt, ...] = (32, 48, 64, 96)
    """Channels at each resolution; their number less one is the number of halvings."""
    num_steps: PositiveInt = 20_000
    """Optimizer updates on augmented frames."""
    finishing_steps: NonNegativeInt = 0
    """Updates after those, on frames exactly as they are encoded."""
    batch_frames: PositiveInt = 16
    """Frames in one update."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate of AdamW; warm-up, then a cosine down to zero."""
    kl_weight: NonNegativeFloat = 1e-6
    """Weight of the KL term against the reconstruction terms."""
    save_every_steps: Annotated[PositiveInt, HOW] = 1000
    """Updates between two saves."""
