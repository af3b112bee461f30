"""Small frames, configurations and autoencoders for the tests of this room."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from made_frames import save_autoencoder, write_sequence

from preprocess.source.opening import open_index, write_report
from preprocess.source.report import require_clips
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import paths_for

HOME = Path(__file__).parents[2]


@dataclass
class Bench:
    """A run on a root of its own."""

    config: RunConfig
    partition: Partition

    @property
    def paths(self):
        return paths_for(self.config, self.partition)

    def index(self):
        """The index of its frames, as a stage takes it."""
        index = open_index(self.config, self.paths)
        report = write_report(self.config, index, self.paths)
        require_clips(index, self.paths.frames, report, self.config.data.skip_bad_clips)
        return index

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


@pytest.fixture(autouse=True, scope="session")
def one_core():
    """Stages ask for the cores of their task: with one each, tests beside one another do not slow each other down."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CPUS_PER_TASK", "1")
        yield


@pytest.fixture
def bench(tmp_path):
    """Makes a Bench; keyword arguments replace sections of the run configuration."""

    def make(root=tmp_path / "runs", **sections):
        content = {"data": {"dataset": "test", "root": str(tmp_path / "frames"), "frame_height_px": 32}}
        content |= {"model": {"num_frames": 8}, "tasks": {"prefix_max_frames": 4}}
        content["autoencoder"] = {"source": "configs/autoencoder/streets", "clips_per_shard": 1}
        for name, section in sections.items():
            content[name] = {**content.get(name, {}), **section} if isinstance(section, dict) else section
        config = RunConfig.model_validate_json(json.dumps(content))
        return Bench(config, Partition(name="local", executor="local", root=str(root)))

    return make


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A small tree: three training clips, one validation clip, one test clip."""
    folder = tmp_path_factory.mktemp("tree")
    for sequence in range(3):
        write_sequence(folder, "train", "xanten", sequence, range(30))
    write_sequence(folder, "val", "yburg", 0, range(30))
    write_sequence(folder, "test", "zell", 0, range(30))
    return folder


@pytest.fixture(scope="session")
def tiny_autoencoder(tmp_path_factory):
    """A folder with a randomly initialised AutoencoderKL of four levels."""
    return save_autoencoder(tmp_path_factory.mktemp("autoencoder"), seed=0)
