"""The sections of a run configuration that decide its frames and latents."""

from typing import Annotated, Literal

from pydantic import model_validator

from vdt_hpc.experiment.section import (
    HOW,
    OPTION,
    WHERE,
    FolderName,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
)


class DataConfig(Section):
    """Which clips, and how their frames become squares of pixels."""

    dataset: FolderName = "cityscapes"
    """Name of the data set in tables and of its folders under the root; results are compared only within one name."""
    source: Literal["cityscapes", "clips", "videos"] = "cityscapes"
    """`cityscapes`: frames named and laid out as in leftImg8bit_sequence. `clips`: folders of images, one folder per
    clip or longer film. `videos`: video files."""
    root: Annotated[str, WHERE] = "data/cityscapes"
    """Folder that holds leftImg8bit_sequence/, the folders of images or the video files; or (not for videos) a zip or
    an uncompressed tar of it, which is read in place. Relative: under the current directory."""
    frames_per_clip: PositiveInt = 30
    """Frames in one clip; a sequence of another length is a fault that is named."""
    skip_bad_clips: Annotated[bool, OPTION] = False
    """Leave clips with a fault out, and say which; otherwise the first look at the frames ends with a list of them."""
    frame_height_px: PositiveInt = 128
    """Height of the frame that the autoencoder sees, in pixels."""
    frame_width_px: Annotated[PositiveInt | None, OPTION] = None
    """Its width, in pixels; null: a square. The model takes squares alone."""
    crop: Literal["centre-square", "whole"] = "centre-square"
    """What is cut out of the camera's frame before it is resized: the largest square in its middle, or nothing: `whole`
    squeezes what has another aspect ratio."""
    resize: Literal["lanczos", "bilinear", "area"] = "lanczos"
    """Resampling filter, on uint8. `lanczos`: Pillow's (MCVD). `bilinear`: between the four nearest pixels alone,
    without antialiasing (SyncVP). `area`: the mean of the pixels below each."""
    frame_rate_hz: Annotated[PositiveFloat | None, OPTION] = None
    """Frames per second of the clips that `videos` and `clips` become: of those filmed, the nearest in time are taken;
    null: all of them."""
    filmed_rate_hz: Annotated[PositiveFloat | None, OPTION] = None
    """`clips`: frames per second at which the images were filmed, which `frame_rate_hz` is taken from."""
    val_clips_per_video: NonNegativeInt = 1
    """`videos` without train/val/test folders: clips before each video's test clips that become validation clips."""
    test_clips_per_video: NonNegativeInt = 1
    """`videos` without train/val/test folders: last clips of each video that become test clips."""

    @model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        if self.crop == "centre-square" and self.width_px != self.frame_height_px:
            raise ValueError(
                f"data.crop centre-square gives no frame of {self.width_px} x {self.frame_height_px} px; "
                "set data.crop=whole, or leave out data.frame_width_px"
            )
        if self.frame_rate_hz is not None and self.source == "cityscapes":
            raise ValueError("data.frame_rate_hz is for videos and clips; Cityscapes' frames are taken as they are")
        if self.frame_rate_hz is not None and self.source == "clips" and self.filmed_rate_hz is None:
            raise ValueError("data.frame_rate_hz of clips needs data.filmed_rate_hz, which images do not tell")
        if self.filmed_rate_hz is not None and self.source != "clips":
            raise ValueError("data.filmed_rate_hz is for clips; videos tell theirs, and Cityscapes is taken as it is")
        return self

    @property
    def width_px(self) -> int:
        """Width of the frame that the autoencoder sees, in pixels."""
        return self.frame_width_px or self.frame_height_px


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
    encode_precision: Annotated[Literal["fp32", "bf16"], OPTION] = "fp32"
    """Arithmetic of encoding. `bf16`: two to three times as fast; how far the latents lie from those of fp32 is
    measured on one clip of each shard and stands in the manifest."""
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
