"""Stage `autoencoder`: train a small AutoencoderKL on the training frames of a run.

    frames of the split train -> <output>/config.json, diffusion_pytorch_model.safetensors, training.json

For data sets that no pretrained autoencoder is at hand for, such as the made-up streets. The objective is the mean
over frames of log(mean squared error), which is the PSNR that the stage reports, plus a KL term.

Legend: B frames, H x W pixels (square), C latent channels, h x w latent cells.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from preprocess import frames as pixels
from preprocess.sources import open_source
from vdt_hpc import dist, files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import AutoencoderTrainingConfig, RunConfig, Split
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import checkout, paths_for
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.progress import Progress

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

RECORD = "training.json"
STATE = "training-state.safetensors"
WARMUP_STEPS = 200
EMA_DECAY = 0.999
FRAME_STRIDE = 3
"""Neighbouring frames teach nearly the same: every third is kept in memory."""
GRAD_CLIP_NORM = 1.0

ByteArray = npt.NDArray[np.uint8]
