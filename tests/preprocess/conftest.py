"""Small frames, configurations and autoencoders for the tests of this room."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.cityscapes import TREE, frame_name
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition

HOME = Path(__file__).parents[2]


@dataclass
class Bench:
    """A run on a root of its own."""

    config: RunConfig
    partition: Partition

    def start(self, stage, **options):
        """The stage as a real process."""
        code = (
            "import sys, json; from vdt_hpc.experiment import stages; from vdt_hpc.experiment.config import RunConfig;"
            "from vdt_hpc.experiment.partition import Partition;"
            "stages.load(sys.argv[1])(RunConfig.model_validate_json(sys.argv[2]),"
            "Partition.model_validate_json(sys.argv[3]))"
        )
        arguments = [stage, self.config.model_dump_json(), self.partition.model_dump_json()]
        return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=HOME, **options)


@pytest.fixture
def bench(tmp_path):
    """Makes a Bench; keyword arguments replace sections of the run configuration."""

    def make(root=tmp_path / "runs", **sections):
        content = {"data": {"dataset": "test", "root": str(tmp_path / "frames"), "frame_height_px": 32}}
        content["autoencoder"] = {"source": "configs/autoencoder/streets", "clips_per_shard": 1}
        for name, section in sections.items():
            content[name] = {**content.get(name, {}), **section} if isinstance(section, dict) else section
        config = RunConfig.model_validate_json(json.dumps(content))
        return Bench(config, Partition(name="local", executor="local", root=str(root)))

    return make


def write_sequence(folder, split, city, sequence, frames, size_px=(48, 24), level=None):
    """PNG files of one sequence; the picture tells the frame number."""
    home = folder / TREE / split / city
    home.mkdir(parents=True, exist_ok=True)
    width_px, height_px = size_px
    ramp = np.linspace(0, 120, width_px).astype(np.uint8)
    for frame in frames:
        pixels = np.zeros((height_px, width_px, 3), np.uint8)
        pixels[..., 0] = ramp
        pixels[..., 1] = (frame * 7 + sequence * 40) % 256 if level is None else level
        pixels[: height_px // 2, :, 2] = 200
        Image.fromarray(pixels).save(home / frame_name(city, sequence, frame))


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A small tree: four training clips, one validation clip, two test clips."""
    folder = tmp_path_factory.mktemp("tree")
    for sequence in range(4):
        write_sequence(folder, "train", "xanten", sequence, range(30))
    write_sequence(folder, "val", "yburg", 0, range(30))
    for sequence in range(2):
        write_sequence(folder, "test", "zell", sequence, range(30))
    return folder


@pytest.fixture(scope="session")
def tiny_autoencoder(tmp_path_factory):
    """A folder with a randomly initialised AutoencoderKL of four levels."""
    return save_autoencoder(tmp_path_factory.mktemp("autoencoder"), seed=0)


def save_autoencoder(folder, seed, **changes):
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    options = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "scaling_factor": 0.5} | changes
    levels = len(options["block_out_channels"])
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels, **options
    )
    model.save_pretrained(folder)
    return folder
