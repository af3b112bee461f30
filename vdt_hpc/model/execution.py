"""How a model is run on a partition: what its backward pass keeps, and whether its block is compiled.

Neither changes weights or their names. Keeping less gives the same numbers; a compiled block rounds in other places.
"""

import os
import shutil

import torch

from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.model.vdt import VDT


def prepare(config: RunConfig, partition: Partition, device: torch.device) -> None:
    """Make a process ready to compile, where the partition says so, before it has an optimizer or a model.

    What is compiled is kept under the root, for the next process, unless the environment names other folders. The first
    optimizer of a process imports torch's compiler, which then decides where it keeps its work.

    Raises:
        UserError: there is no compiler.
    """
    if not partition.compile:
        return
    require_compiler(device, partition)
    folder = paths_for(config, partition).compiled
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "inductor"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))


def set_up(model: VDT, partition: Partition) -> None:
    """Have a model run as a partition says.

    The block is compiled when it is first called with numbers of a new shape or type, once for all layers: they share
    their code, and weights are arguments of it.
    """
    model.checkpointing = partition.activation_checkpointing
    if partition.compile:
        for block in model.blocks:
            block.compile(dynamic=False)


def require_compiler(device: torch.device, partition: Partition) -> None:
    """Refuse to compile where torch.compile would find no compiler: of C++ for a CPU, of C for what launches on a GPU.

    Raises:
        UserError: there is none.
    """
    if device.type == "cpu":
        language, known = "C++", [os.environ.get("CXX") or "g++"]
    else:
        language, known = "C", [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    if not any(shutil.which(name) for name in known):
        raise UserError(
            f"compile: true of partition {partition.name} needs a {language} compiler, and {' or '.join(known)} is not "
            "on this machine's PATH; load one in the partition's setup, or set compile: false"
        )
