"""What to compute: the typed run configuration.

A run configuration never says where it runs (see `partition.py`), so moving to other GPUs cannot fork an experiment.
Every field is documented below it. A field marked `HOW` or `WHERE` does not change what the run computes and stays
out of its signature (see `signature.py`).
"""

from typing import Annotated, Literal

from pydantic import field_validator, model_validator

from vdt_hpc.experiment import window_plan
from vdt_hpc.experiment.data_config import (
    AutoencoderConfig,
    AutoencoderTrainingConfig,
    DataConfig,
    StreetsConfig,
)
from vdt_hpc.experiment.model_config import DiffusionConfig, InitConfig, ModelConfig
from vdt_hpc.experiment.sample_config import FLOW_SAMPLERS, SampleConfig
from vdt_hpc.experiment.section import (
    HOW,
    OPTION,
    WHERE,
    FolderName,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
)
from vdt_hpc.experiment.tasks_config import TasksConfig

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
RESERVED_NAMES = ("frames", "comparison", "indexes", "latents", "weights", "autoencoders", "compiled")


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
    precision: Literal["fp32", "tf32", "bf16", "fp64"] = "bf16"
    """Arithmetic of forward and backward; weights, optimizer and average are fp32 with all but the last. `tf32`: fp32,
    but products in TF32 on GPUs that have it. `fp64` makes everything double: slow, for showing that two runs compute
    the same."""
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
    """Steps of a film strip: of DDIM, or of Euler where the model says the flow."""


class EvaluateConfig(Section):
    """How samples are measured (stage `evaluate`)."""

    protocol: str = "2to28"
    """Name of the run's own protocol in records and tables, which takes all that was sampled; numbers are compared only
    within one name, so it must not be that of a file in configs/protocol."""
    metrics: tuple[str, ...] = ("fvd", "ssim", "psnr", "lpips")
    """Its metrics, in the order of the table's columns: names of files in results/metrics; ssim:best, fvd:pooled say
    what several trajectories become."""
    protocols: tuple[str, ...] = ()
    """Further protocols that the same samples are measured by: names of files in configs/protocol."""


class RunConfig(Section):
    """One experiment: what to compute, never where."""

    name: Annotated[FolderName, WHERE] = "cityscapes"
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
    init: Annotated[InitConfig, OPTION] = InitConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    tasks: TasksConfig = TasksConfig()
    optim: OptimConfig = OptimConfig()
    batch: BatchConfig = BatchConfig()
    train: TrainConfig = TrainConfig()
    sample: SampleConfig = SampleConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in RESERVED_NAMES:
            raise ValueError(f"{name!r} is the name of a folder beside the runs; choose another")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        if self.model.num_frames > self.data.frames_per_clip:
            raise ValueError("model.num_frames is larger than data.frames_per_clip")
        if self.tasks.prefix_max_frames >= self.model.num_frames:
            raise ValueError("tasks.prefix_max_frames must be smaller than model.num_frames")
        if self.tasks.completion and self.latent_height < 2:
            raise ValueError("tasks.completion needs latents of more than one cell; raise data.frame_height_px")
        self.sample.check(self.tasks, self.model.num_frames)
        for way in self.sample.ways:
            if (way.sampler in FLOW_SAMPLERS) != (self.diffusion.prediction == "flow"):
                raise ValueError(
                    f"sample.{'sampler' if way is self.sample else 'also'} {way.sampler} does not go with "
                    f"diffusion.prediction {self.diffusion.prediction}: flow takes {' or '.join(FLOW_SAMPLERS)}, the "
                    "others take the others"
                )
        cell_px = self.autoencoder.downsampling * self.model.patch_size
        for name, size_px in (("height", self.data.frame_height_px), ("width", self.data.width_px)):
            if size_px % cell_px:
                raise ValueError(
                    f"data.frame_{name}_px {size_px} must be a multiple of {cell_px} "
                    "(autoencoder.downsampling x model.patch_size)"
                )
        return self

    @model_validator(mode="after")
    def _rolls(self) -> "RunConfig":
        """Samples longer than the model's window need what their windows ask of it."""
        sample, window = self.sample, self.model.num_frames
        if sample.num_frames is None or sample.num_frames == window:
            return self
        if sample.num_frames < window:
            raise ValueError(f"sample.num_frames {sample.num_frames} is less than the model's {window}; leave it out")
        fewest, most = self.tasks.prefix_min_frames, self.tasks.prefix_max_frames
        if not fewest <= self.overlap_frames <= most:
            raise ValueError(
                f"the windows of sample.num_frames {sample.num_frames} overlap by {self.overlap_frames} frames, but "
                f"training gives {fewest} to {most}; set sample.overlap_frames"
            )
        for task in sample.tasks:
            what = f"sample.tasks: {task} of sample.num_frames {sample.num_frames}"
            if task in ("interpolation", "completion"):
                raise ValueError(f"{what}, but its given frames fill one window of {window}; leave out num_frames")
            given = sample.given(task, sample.num_frames)
            if given and given[-1] >= self.data.frames_per_clip:
                raise ValueError(
                    f"{what} is given frame {given[-1]}, but clips have {self.data.frames_per_clip} "
                    "(data.frames_per_clip); lower num_frames or given_frame"
                )
            first, *others = window_plan.plan(sample.num_frames, window, self.overlap_frames, given)
            if any(frames.start < first.start for frames in others) and not self.tasks.backward:
                raise ValueError(f"{what} rolls backwards, which is never trained; give tasks.backward a weight")
            if any(frames.start > first.start for frames in others) and not self.tasks.prediction:
                raise ValueError(f"{what} rolls on by prediction, which is never trained; give it a weight in tasks")
        return self

    @property
    def overlap_frames(self) -> int:
        """Frames that a window of a long sample is given of the one before it."""
        return self.sample.overlap_frames or self.sample.given_frames

    @property
    def latent_height(self) -> int:
        """Cells of a latent from top to bottom; the model's are squares of them."""
        return self.data.frame_height_px // self.autoencoder.downsampling

    @property
    def latent_width(self) -> int:
        """Cells of a latent from left to right."""
        return self.data.width_px // self.autoencoder.downsampling
