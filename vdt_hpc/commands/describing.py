"""What would be done, in words, and the exact text that sbatch would be given: `launch --dry-run`."""

from collections.abc import Iterator, Sequence

from vdt_hpc.cluster import snapshot
from vdt_hpc.cluster.executor import submission_text
from vdt_hpc.cluster.submission import executor_for
from vdt_hpc.commands import frames_outlook
from vdt_hpc.commands.words import amount
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import stages, weights
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.memory import largest_step_bytes, state_bytes
from vdt_hpc.experiment.partition import Partition, plan_batch
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.signature import latents_signature, signature


def describe(
    names: Sequence[str],
    config: RunConfig,
    partitions: Sequence[Partition],
    paths: RunPaths,
    array_size: int,
    cluster: str = "",
) -> str:
    """The plan of a launch.

    Args:
        names: the stages, in order.
        config, paths: of which run.
        partitions: where.
        array_size: jobs among which a stage's work is shared, where it can be.
        cluster: name of the Slurm cluster; empty on this machine, or where none answers.

    Raises:
        UserError: no such folder of frames can be, or a training's batch cannot be spread over a partition's tasks.
    """
    lines = [
        f"run          {config.name} (signature {signature(config)}) in {paths.run}",
        f"stages       {' -> '.join(names)}",
        f"latents      {paths.latents.name} (signature {latents_signature(config)})",
    ]
    if {"index", "encode"} & set(names):
        lines += frames_outlook.describe(config, paths)
    else:
        lines.append(f"frames       {paths.frames}")
    if "train" in names and config.init.from_ is not None:
        lines.append(f"begins with  {_initial_weights(config.init.from_)}")
    for partition in partitions:
        lines += _where(config, partition, trains="train" in names)
    if len(partitions) > 1:
        lines.append("of these     the first to start a job goes on, the others leave the queue")
    for partition in partitions:
        lines += _submission(names, partition, paths, array_size, cluster)
    return "\n".join(lines)


def _initial_weights(source: str) -> str:
    try:
        return f"weights from {weights.initial_file(source)}"
    except UserError as error:
        return str(error)


def _where(config: RunConfig, partition: Partition, trains: bool) -> Iterator[str]:
    hardware = f"{partition.gpus_per_node} GPUs" if partition.gpus_per_node else "no GPU"
    if partition.gpus_per_node and partition.gpu_memory_gb:
        hardware += f" of {partition.gpu_memory_gb:g} GB"
    tasks = f"{partition.world_size} task(s)"
    yield f"partition    {partition.name}: {partition.num_nodes} node(s) with {hardware}, {tasks}"
    if trains:
        yield from _training(config, partition)
    yield f"time limit   {partition.timeout_min} min per job, saving {partition.save_margin_s} s before it"


def _training(config: RunConfig, partition: Partition) -> Iterator[str]:
    plan = plan_batch(config.batch, partition)
    shares = [sum(sizes) for sizes in plan.micro_batches]
    share = f"{shares[0]}" if shares[0] == shares[-1] else f"{shares[-1]} or {shares[0]}"
    largest = max(size for sizes in plan.micro_batches for size in sizes)
    updates = -(-config.train.total_clips // plan.global_clips)
    yield (
        f"batch        global {plan.global_clips} clips = {share} clips on each of {partition.world_size} task(s), "
        f"micro-batches of at most {largest} (limit {partition.max_clips_per_gpu}), accumulation {plan.accumulation}"
    )
    yield (
        f"training     {config.train.total_clips:,} clips = {updates:,} updates, {config.train.precision}, "
        f"peak learning rate {config.optim.lr * plan.lr_scale:g}"
    )
    if partition.gpus_per_node and partition.gpu_memory_gb:
        yield f"memory       {memory_of_step(config, partition)}"


def memory_of_step(config: RunConfig, partition: Partition) -> str:
    """What training takes of each GPU's memory at most, as it is predicted."""
    num_clips, num_bytes = largest_step_bytes(config, partition)
    how = " with activation checkpointing" if partition.activation_checkpointing else ""
    state = f"{amount(state_bytes(config))} of it weights, gradients, optimizer and average"
    return f"about {amount(num_bytes)} of each GPU for {num_clips} clip(s) at once{how}, {state}"


def _submission(
    names: Sequence[str], partition: Partition, paths: RunPaths, array_size: int, cluster: str
) -> Iterator[str]:
    if partition.executor == "local":
        yield f"submission   none: {partition.world_size} process(es) of this machine"
        return
    code = snapshot.plan(paths)
    for name in names:
        size = array_size if stages.find(name).as_array else 1
        yield f"\n# what sbatch is given for {name} on {partition.name}"
        yield submission_text(executor_for(name, partition, paths, cluster, code), size)
