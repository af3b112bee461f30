"""`python -m vdt_hpc.launch [STAGE ...] --partition WHERE`: run stages, here or on a cluster; again to resume.

On this machine the stages run one after the other and their progress is shown. On a Slurm partition each becomes a
job that starts when the one before it has ended well.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence

from vdt_hpc.commandline import USER_ERROR, Parser, find_run, load_partition, load_run, root_of, run_command, run_paths
from vdt_hpc.commands import choice, preflight
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import stages
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for

DEFAULT_RUN = "cityscapes"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status.

    0: done, or submitted. 1: a stage crashed. 2: a user's mistake, told in one line. 3: it was stopped, a stage after
    it has saved; the same command goes on.
    """
    return run_command(lambda: _main(arguments), stopped="what was told until now is done; the same command goes on")


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_intermixed_args(arguments)
    if options.cancel is not None:
        return _cancel(options)
    if options.rehearse:
        return _rehearse(options)
    names = [word for word in options.words if "=" not in word] or ["train"]
    for name in names:
        stages.find(name)
    if options.partition is None:
        raise UserError("the following arguments are required: --partition; see --help")
    config = load_run(_run_of(options), [word for word in options.words if "=" in word])
    partitions, paths = _places(options, config)
    if choice.is_auto(options.partition):
        partitions = _chosen(options, names, config, partitions, paths)
    if options.array not in (None, 1):
        _require_array(options.array, names, partitions)
    if options.replace and partitions[0].executor == "local":
        raise UserError("--replace ends jobs that are in a queue, and this machine has none; leave it out")
    if options.check:
        return _check(names, config, partitions, paths)
    if options.dry_run:
        return _describe(options, names, config, partitions, paths)
    if partitions[0].executor == "local":
        from vdt_hpc.commands import running

        return running.run(names, config, partitions[0], paths)
    return _send(options, names, config, partitions, paths)


def _parser() -> Parser:
    known = ", ".join(stage.name for stage in stages.STAGES)
    parser = Parser(prog="python -m vdt_hpc.launch", description="Run or resume stages, here or on a cluster.")
    parser.add_argument(
        "words", nargs="*", metavar="STAGE | section.field=value",
        help=f"stages in order ({known}; default: train) and overrides of the run configuration",
    )  # fmt: skip
    parser.add_argument(
        "--partition", metavar="WHERE",
        help="a name under configs/partition, or a YAML file; several with commas: the first to start a job wins; "
        "auto, or auto:NAME,NAME: the one where the work ends first, by the queue's estimate",
    )  # fmt: skip
    parser.add_argument("--run", help=f"a name under configs/run, or a YAML file (default: {DEFAULT_RUN})")
    parser.add_argument("--root", help="folder for everything that is written, instead of the partition's")
    parser.add_argument("--array", type=int, metavar="N", help="share encode, sample, evaluate among N jobs")
    parser.add_argument("--replace", action="store_true", help="end jobs of these stages that are in the queue already")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="look at everything that a start needs; start nothing")
    instead.add_argument("--dry-run", action="store_true", help="print the plan and the submission; start nothing")
    instead.add_argument(
        "--rehearse", action="store_true",
        help="prove on this machine that a killed and resumed training is the undisturbed one (partition: local)",
    )  # fmt: skip
    instead.add_argument("--cancel", metavar="RUN", help="have all jobs of a run save and end, and leave the queue")
    return parser


def _places(options: Namespace, config: RunConfig) -> tuple[list[Partition], RunPaths]:
    """The partitions that are named, and the one set of paths that all of them use.

    Raises:
        UserError: one is unknown or named twice, they have different roots, or this machine is one of several.
    """
    is_auto = choice.is_auto(options.partition)
    names = choice.candidate_names(options.partition) if is_auto else options.partition.split(",")
    partitions = [load_partition(name) for name in names]
    if options.root:
        partitions = [partition.model_copy(update={"root": options.root}) for partition in partitions]
    if len({partition.name for partition in partitions}) < len(partitions):
        raise UserError(f"a partition is named twice in {options.partition}; name each once")
    if not is_auto and len(partitions) > 1 and any(partition.executor == "local" for partition in partitions):
        raise UserError("this machine cannot be one of several partitions; name Slurm's alone, or it alone")
    found = [paths_for(config, partition) for partition in partitions]
    if len({paths.root for paths in found}) > 1:
        raise UserError(
            f"the partitions {options.partition} have different roots ({', '.join(str(each.root) for each in found)}), "
            "so they would write different runs; give --root"
        )
    return partitions, found[0]


def _chosen(
    options: Namespace, names: Sequence[str], config: RunConfig, candidates: list[Partition], paths: RunPaths
) -> list[Partition]:
    """Where the stages are in the queue already or, if they are nowhere, the best of the candidates; says why."""
    from vdt_hpc.commands import sending

    there = [] if options.replace else sending.whereabouts(names, candidates, paths)
    if there:
        return there
    chosen = choice.choose(candidates, names, config, paths)
    print(chosen.explanation)
    return [chosen.partition]


def _describe(
    options: Namespace, names: Sequence[str], config: RunConfig, partitions: Sequence[Partition], paths: RunPaths
) -> int:
    from vdt_hpc.cluster import queue
    from vdt_hpc.commands import describing
    from vdt_hpc.commands.sending import Sender

    cluster, fates = "", []
    if partitions[0].executor == "slurm":
        try:
            cluster = queue.cluster_name()
            sender = Sender(config, partitions, paths, cluster, options.array or 1, options.replace)
            fates = sender.foresee(names)
        except queue.NoAnswer as silence:  # a plan may be looked at anywhere
            fates = [f"what of this run is in the queue is not known: {silence}"]
    print("\n".join([describing.describe(names, config, partitions, paths, options.array or 1, cluster), *fates]))
    return 0


def _send(
    options: Namespace, names: Sequence[str], config: RunConfig, partitions: Sequence[Partition], paths: RunPaths
) -> int:
    from vdt_hpc.cluster import queue
    from vdt_hpc.commands.sending import Sender

    findings = preflight.check(names, config, partitions, paths)
    preflight.refuse(findings)
    for finding in findings:
        if finding.level == "warning":
            print(f"warning: {finding.message}", file=sys.stderr)
    Sender(config, partitions, paths, queue.cluster_name(), options.array or 1, options.replace).send(names)
    return 0


def _check(names: Sequence[str], config: RunConfig, partitions: Sequence[Partition], paths: RunPaths) -> int:
    findings = preflight.check(names, config, partitions, paths)
    print(preflight.render(findings))
    return USER_ERROR if any(finding.level == "fault" for finding in findings) else 0


def _require_array(size: int, names: Sequence[str], partitions: Sequence[Partition]) -> None:
    if size < 1:
        raise UserError(f"--array takes a number of jobs, 1 or more, not {size}")
    shared = [stage.name for stage in stages.STAGES if stage.as_array]
    if not set(shared) & set(names):
        raise UserError(
            f"--array shares the work of {', '.join(shared[:-1])} and {shared[-1]}, and none of them is asked for"
        )
    if partitions[0].executor == "local":
        raise UserError("--array needs a Slurm partition; on this machine set tasks_per_node in the partition's file")
    if len(partitions) > 1:
        raise UserError("--array needs a single partition")


def _require_alone(what: str, others: Mapping[str, object]) -> None:
    """Nothing that was asked for is left out in silence.

    Args:
        what: the option that is to stand without some others.
        others: what they are called -> what is given for them; nothing where it is None, False or empty.
    """
    given = [name for name, value in others.items() if value not in (None, False, [])]
    if given:
        raise UserError(f"{what} does not go with {', '.join(given)}; leave that out")


def _run_of(options: Namespace) -> str:
    """The run that is asked for."""
    return DEFAULT_RUN if options.run is None else str(options.run)


def _rehearse(options: Namespace) -> int:
    from vdt_hpc.commands.rehearsal import rehearse

    stated = [word for word in options.words if "=" not in word]
    if stated:
        raise UserError(f"--rehearse rehearses training and takes no stage ({stated[0]}); see --help")
    _require_alone("--rehearse", {"--array": options.array, "--replace": options.replace})
    config = load_run(_run_of(options), options.words)
    options.partition = options.partition or "local"
    partitions, paths = _places(options, config)
    if len(partitions) > 1:
        raise UserError("--rehearse needs a single partition")
    return rehearse(config, partitions[0], paths)


def _cancel(options: Namespace) -> int:
    from vdt_hpc.commands.cancelling import cancel

    others = {"--partition": options.partition, "--run": options.run, "--array": options.array}
    _require_alone("--cancel", {**others, "--replace": options.replace, "stages and overrides": options.words})
    if not options.cancel:
        raise UserError("--cancel takes the name of a run, and it is empty")
    root = root_of(options.root)
    cancel(run_paths(find_run(options.cancel, root, unstarted=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
