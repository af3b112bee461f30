"""`python -m vdt_hpc.launch [STAGE ...] --partition WHERE`: run stages, here or on a cluster; again to resume.

On this machine the stages run one after the other and their progress is shown. On a Slurm partition each becomes a
job that starts when the one before it has ended well.
"""

import sys
from collections.abc import Sequence

from vdt_hpc.commandline import Parser, load_partition, load_run, run_command
from vdt_hpc.experiment import stages
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition, plan_batch
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.signature import latents_signature, signature

CRASHED, STOPPED = 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status.

    0: done, or submitted. 1: a stage crashed. 2: a user's mistake, told in one line. 3: a stage was stopped and has
    saved; the same command goes on.
    """
    return run_command(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    stated = [word for word in options.words if "=" not in word]
    names = stated or ["train"]
    overrides = [word for word in options.words if "=" in word]
    for name in names:
        stages.find(name)
    if options.partition is None and not options.rehearse:
        parser.error("the following arguments are required: --partition")
    if options.rehearse and stated:
        parser.error(f"--rehearse rehearses training and takes no stage ({stated[0]})")
    config = load_run(options.run, overrides)
    partition = load_partition(options.partition or "local")
    if options.root:
        partition = partition.model_copy(update={"root": options.root})
    paths = paths_for(config, partition)
    if options.rehearse:
        from vdt_hpc.commands.rehearsal import rehearse

        return rehearse(config, partition, paths)
    if options.dry_run:
        print(_describe(names, config, partition, paths))
        return 0
    if partition.executor == "local":
        return _run_here(names, config, partition, paths)
    return _submit(names, config, partition, paths)


def _parser() -> Parser:
    known = ", ".join(stage.name for stage in stages.STAGES)
    parser = Parser(prog="python -m vdt_hpc.launch", description="Run or resume stages, here or on a cluster.")
    parser.add_argument(
        "words", nargs="*", metavar="STAGE | section.field=value",
        help=f"stages in order ({known}; default: train) and overrides of the run configuration",
    )  # fmt: skip
    parser.add_argument("--partition", help="a name under configs/partition, or a YAML file")
    parser.add_argument("--run", default="cityscapes", help="a name under configs/run, or a YAML file")
    parser.add_argument("--root", help="folder for everything that is written, instead of the partition's")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and the submission; start nothing")
    parser.add_argument(
        "--rehearse", action="store_true",
        help="prove on this machine that a killed and resumed training is the undisturbed one; partition: local",
    )  # fmt: skip
    return parser


def _describe(names: list[str], config: RunConfig, partition: Partition, paths: RunPaths) -> str:
    """The plan in words, then what sbatch would be given."""
    plan = plan_batch(config.batch, partition)
    hardware = f"{partition.gpus_per_node} GPUs" if partition.gpus_per_node else "no GPU"
    if partition.gpus_per_node and partition.gpu_memory_gb:
        hardware += f" of {partition.gpu_memory_gb:g} GB"
    shares = [sum(sizes) for sizes in plan.micro_batches]
    share = f"{shares[0]}" if shares[0] == shares[-1] else f"{shares[-1]} or {shares[0]}"
    largest = max(size for sizes in plan.micro_batches for size in sizes)
    updates = -(-config.train.total_clips // plan.global_clips)
    lines = [
        f"run          {config.name} (signature {signature(config)}) in {paths.run}",
        f"stages       {' -> '.join(names)}",
        f"latents      {paths.latents.name} (signature {latents_signature(config)})",
        f"partition    {partition.name}: {partition.num_nodes} node(s) with {hardware}, {partition.world_size} task(s)",
        f"batch        global {plan.global_clips} clips = {share} clips on each of {partition.world_size} task(s), "
        f"micro-batches of at most {largest} (limit {partition.max_clips_per_gpu}), accumulation {plan.accumulation}",
        f"training     {config.train.total_clips:,} clips = {updates:,} updates, {config.train.precision}, "
        f"peak learning rate {config.optim.lr * plan.lr_scale:g}",
        f"time limit   {partition.timeout_min} min per job, saving {partition.save_margin_s} s before it",
    ]
    if partition.executor == "local":
        return "\n".join([*lines, f"submission   none: {partition.world_size} process(es) of this machine"])
    from vdt_hpc.cluster import snapshot
    from vdt_hpc.cluster.executor import submission_text
    from vdt_hpc.cluster.submission import executor_for

    code = snapshot.plan(paths)
    for name in names:
        lines += ["", f"# what sbatch is given for {name}", submission_text(executor_for(name, partition, paths, code))]
    return "\n".join(lines)


def _run_here(names: list[str], config: RunConfig, partition: Partition, paths: RunPaths) -> int:
    from vdt_hpc.cluster.job import StageJob
    from vdt_hpc.cluster.local import StageFailed, run_local

    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}", flush=True)
        try:
            outcome = run_local(StageJob.of(name, config, partition), partition, paths.jobs)
        except StageFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return CRASHED
        print(f"      {outcome.message}", flush=True)
        for label, path in outcome.outputs.items():
            print(f"      {label}: {path}", flush=True)
        if outcome.status == "stopped":
            print(f"stage {name} stopped before its end; run the same command again to go on", file=sys.stderr)
            return STOPPED
    return 0


def _submit(names: list[str], config: RunConfig, partition: Partition, paths: RunPaths) -> int:
    from vdt_hpc.cluster.submission import submit
    from vdt_hpc.cluster.submissions import new_command

    plan_batch(config.batch, partition)  # a batch that cannot be spread is said now, not in the job's log
    previous: tuple[str, ...] = ()
    command = new_command()
    for name in names:
        job = submit(name, config, partition, paths, command, previous).job
        waits = f", after job {previous[0]}" if previous else ""
        logs = f"{paths.jobs / name}/{job}_*"
        print(f"submitted {name} of {config.name} to {partition.name} as job {job}{waits}; logs: {logs}")
        previous = (job,)
    return 0


if __name__ == "__main__":
    sys.exit(main())
