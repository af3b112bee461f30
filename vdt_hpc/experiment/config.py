"""What to compute: the typed run configuration.

A run configuration never says where it runs (see `partition.py`), so moving to other GPUs cannot fork an experiment.
Every field is documented below it. A field marked `HOW` or `WHERE` does not change what the run computes and stays
out of its signature (see `signature.py`).
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vdt_hpc.experiment.data_config import (
    AutoencoderConfig,
    AutoencoderTrainingConfig,
    DataConfig,
    StreetsConfig,
)
from vdt_hpc.experiment.section import (
    HOW,
    WHERE,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
)

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
TaskName = Literal["prediction", "unconditional"]
RESERVED_NAMES = ("frames", "latents", "weights", "autoencoders")


class ModelConfig(Section):
    """The video diffusion transformer (VDT, arXiv 2305.13311, table 1)."""

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

    @model_validator(mode="after")
    def _divisible(self) -> "ModelConfig":
        if self.width % self.num_heads or self.width % 4:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads} and of 4")
        return self


class DiffusionConfig(Section):
    """The forward process and the loss."""

    num_train_steps: PositiveInt = 1000
    """Diffusion times; all of them are trained."""
    beta_start: PositiveFloat = 1e-4
    """First beta of the linear schedule."""
    beta_end: PositiveFloat = 0.02
    """Last beta of the linear schedule."""
    prediction: Literal["noise", "velocity"] = "noise"
    """What the model says: `noise`, as published, or `velocity` (arXiv 2202.00512, appendix D), which learns the
    coarse picture in far fewer updates."""


class TasksConfig(Section):
    """The mix of mask-modelling tasks that training draws from, one task per clip."""

    prediction: NonNegativeFloat = 0.8
    """Weight of prediction: the first frames are given, the rest is generated."""
    unconditional: NonNegativeFloat = 0.2
    """Weight of unconditional generation: no frame is given."""
    prefix_min_frames: PositiveInt = 1
    """Shortest given prefix of a prediction; drawn uniformly up to `prefix_max_frames`."""
    prefix_max_frames: PositiveInt = 15
    """Longest given prefix of a prediction."""

    @model_validator(mode="after")
    def _possible(self) -> "TasksConfig":
        if self.prediction + self.unconditional <= 0:
            raise ValueError("at least one task needs a weight above 0")
        if self.prefix_min_frames > self.prefix_max_frames:
            raise ValueError("prefix_min_frames is larger than prefix_max_frames")
        return self

    def weights(self) -> dict[TaskName, float]:
        """Probability of each task; they sum to 1."""
        total = self.prediction + self.unconditional
        return {"prediction": self.prediction / total, "unconditional": self.unconditional / total}


class OptimConfig(Section):
    """AdamW, its schedule and the moving average; every schedule is a function of clips seen."""

    lr: PositiveFloat = 1e-4
    """Peak learning rate."""
    final_lr_fraction: Fraction = 0.05
    """Learning rate at the end of the cosine, as a fraction of the peak."""
    warmup_clips: NonNegativeInt = 40_000
    """Clips over which the learning rate rises linearly from 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    beta1: Fraction = 0.9
    """AdamW's first decay rate."""
    beta2: Fraction = 0.99
    """AdamW's second decay rate."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay."""
    grad_clip_norm: PositiveFloat | None = 1.0
    """Largest gradient norm; null switches clipping off."""
    ema_halflife_clips: NonNegativeInt = 500_000
    """Half-life of the moving average of the weights, in clips; 0: the average is the weights themselves."""
    ema_rampup_fraction: Fraction = 0.05
    """The half-life never exceeds this fraction of the clips seen so far (short runs need a short memory)."""


class BatchConfig(Section):
    """How many clips make one update."""

    global_clips: PositiveInt = 80
    """Clips in one update, whatever the partition (with `scale: fixed`)."""
    scale: Literal["fixed", "per-gpu"] = "fixed"
    """`fixed`: the global batch never changes. `per-gpu`: the batch is the partition's GPUs times its limit, and the
    learning rate follows it linearly (lr x batch / global_clips). Kept to repeat the lab's report."""


class TrainConfig(Section):
    """Length, precision, saving and logging of the training."""

    total_clips: PositiveInt = 8_000_000
    """Clips after which training is complete; the cosine ends here."""
    precision: Literal["fp32", "bf16", "fp64"] = "bf16"
    """Arithmetic of forward and backward; weights, optimizer and average are fp32 with both of the first. `fp64` makes
    everything double: slow, for showing that two runs compute the same."""
    checkpoint_every_clips: Annotated[PositiveInt, HOW] = 400_000
    """Clips between two checkpoints."""
    checkpoint_every_min: Annotated[PositiveFloat, HOW] = 20.0
    """Minutes between two checkpoints, whichever comes first."""
    keep_checkpoints: Annotated[PositiveInt, HOW] = 3
    """Newest checkpoints that are kept; older ones are removed after a save."""
    keep_every_clips: Annotated[PositiveInt | None, HOW] = None
    """Also keep the first checkpoint at or after each multiple of this many clips, for ever; null: none."""
    max_bad_updates: Annotated[PositiveInt, HOW] = 20
    """Updates in a row whose loss or gradient is not finite (each is skipped) after which training gives up."""
    log_every_clips: Annotated[PositiveInt, HOW] = 800
    """Clips between two lines of progress.jsonl."""
    val_every_clips: Annotated[PositiveInt, HOW] = 80_000
    """Clips between two measurements of the validation loss."""
    num_val_clips: Annotated[PositiveInt, HOW] = 64
    """Validation clips of that measurement (all of them where there are fewer)."""
    strips_every_clips: Annotated[PositiveInt, HOW] = 400_000
    """Clips between two film strips: the same validation clips, generated from the averaged weights as they are."""
    num_strips: Annotated[NonNegativeInt, HOW] = 2
    """Validation clips that are drawn each time; 0: none."""
    strip_steps: Annotated[PositiveInt, HOW] = 20
    """DDIM steps of a film strip."""


class SampleConfig(Section):
    """What is generated from the average weights (stage `sample`)."""

    tasks: tuple[TaskName, ...] = ("prediction", "unconditional")
    """Tasks to generate for; the length of the tuple is the number of sample sets."""
    given_frames: PositiveInt = 2
    """Frames given in prediction."""
    sampler: Literal["ddpm", "ddim"] = "ddim"
    """Reverse process."""
    num_steps: PositiveInt = 50
    """Steps of the reverse process."""
    num_clips: PositiveInt = 256
    """Test clips; all of them where there are fewer."""
    num_trajectories: PositiveInt = 1
    """Samples per clip."""
    seed: NonNegativeInt = 0
    """Seed of the noise; a clip's noise depends on (seed, task, clip, trajectory) alone."""
    clips_per_batch: Annotated[PositiveInt, HOW] = 8
    """Samples that pass the model at once."""
    decode_frames: Annotated[PositiveInt, HOW] = 30
    """Frames that pass the autoencoder's decoder at once."""

    @model_validator(mode="after")
    def _tasks_once(self) -> "SampleConfig":
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError("tasks must name at least one task, each once")
        return self


class EvaluateConfig(Section):
    """How samples are measured (stage `evaluate`)."""

    protocol: str = "2to28"
    """Name of the protocol in records and tables; numbers are compared only within one name."""
    metrics: tuple[Literal["psnr", "ssim", "lpips", "fvd"], ...] = ("fvd", "ssim", "psnr", "lpips")
    """Metrics, in the order of the table's columns."""


class RunConfig(Section):
    """One experiment: what to compute, never where."""

    name: Annotated[str, WHERE, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)] = "cityscapes"
    """Name of the run's directory under the root."""
    seed: NonNegativeInt = 0
    """Seed of the weights and of every example."""
    data: DataConfig = DataConfig()
    streets: StreetsConfig | None = None
    """Made-up clips that feed `data`; null for real data."""
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    autoencoder_training: AutoencoderTrainingConfig | None = None
    """Settings of the stage `autoencoder`; null where the autoencoder is taken as it is."""
    model: ModelConfig = ModelConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    tasks: TasksConfig = TasksConfig()
    optim: OptimConfig = OptimConfig()
    batch: BatchConfig = BatchConfig()
    train: TrainConfig = TrainConfig()
    sample: SampleConfig = SampleConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        if self.name in RESERVED_NAMES:
            raise ValueError(f"name {self.name!r} is the name of a folder beside the runs; choose another")
        if self.model.num_frames > self.data.frames_per_clip:
            raise ValueError("model.num_frames is larger than data.frames_per_clip")
        if self.tasks.prefix_max_frames >= self.model.num_frames:
            raise ValueError("tasks.prefix_max_frames must be smaller than model.num_frames")
        if self.sample.given_frames >= self.model.num_frames:
            raise ValueError("sample.given_frames must be smaller than model.num_frames")
        cell_px = self.autoencoder.downsampling * self.model.patch_size
        if self.data.frame_height_px % cell_px:
            raise ValueError(
                f"data.frame_height_px {self.data.frame_height_px} must be a multiple of {cell_px} "
                "(autoencoder.downsampling x model.patch_size)"
            )
        return self

    @property
    def latent_height(self) -> int:
        """Cells along one side of a latent."""
        return self.data.frame_height_px // self.autoencoder.downsampling
