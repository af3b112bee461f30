"""Whose run it is: the same experiment as before, and where it was trained so far."""

import os
from collections.abc import Iterator, Sequence

from vdt_hpc.commands.checks.findings import Finding, fault, ok, warning
from vdt_hpc.commands.run_state import RunState
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, user_path
from vdt_hpc.experiment.same_run import require_same_run
from vdt_hpc.experiment.signature import signature


def check_same_run(config: RunConfig, paths: RunPaths, state: RunState) -> Iterator[Finding]:
    """Whether training would go on with the run of this name, and from where."""
    try:
        require_same_run(config, paths)
    except UserError as error:
        yield fault("run", str(error))
        return
    for line in state.damaged:
        yield warning("run", line)
    if state.fault:
        yield fault("run", state.fault)
    elif state.is_trained(config):
        yield ok("run", f"{config.name} is trained: {state.clips_seen:,} clips")
    else:
        begins = f"goes on at clip {state.clips_seen:,}" if state.newest else "begins at clip 0"
        yield ok("run", f"{config.name} (signature {signature(config)}) {begins} of {config.train.total_clips:,}")


def check_moved(config: RunConfig, profiles: Sequence[Partition], state: RunState, cluster: str) -> Iterator[Finding]:
    """Whether the run comes from another cluster, and what of it may not be here.

    Args:
        config, profiles, state: the run, where it shall go on, and what is on the disk.
        cluster: name of this cluster; empty for this machine, without a queue.
    """
    last = state.legs[-1] if state.legs else None
    if last is None or last.cluster == cluster:
        return
    names = [profile.name for profile in profiles]
    came = f"outside Slurm, on {last.node}," if not last.cluster else f"on the cluster {last.cluster}"
    here = f"on {cluster}" if cluster else "here, outside Slurm"
    profile = "" if last.partition in names else f" by profile {last.partition}, now {' or '.join(names)}"
    message = f"trained {came} until clip {state.clips_seen:,}{profile}; goes on {here}"
    if state.newest is None:
        yield warning("lineage", f"{message} from clip 0: it has no valid checkpoint, were all of them copied?")
    else:
        yield ok("lineage", message)
    frames = user_path(config.data.root)
    if config.streets is None and not os.access(frames, os.F_OK):
        yield warning("lineage", f"data.root {frames} is not here: training needs its latents alone, encode needs it")
