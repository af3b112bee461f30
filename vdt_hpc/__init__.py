"""Train, resume, sample and measure video diffusion transformers on Slurm clusters with too few GPUs."""

__version__ = "0.1.0"
