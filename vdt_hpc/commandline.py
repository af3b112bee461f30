"""What the front doors share: arguments whose mistakes are one line, and configurations found by name."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, checkout, exists, user_path
from vdt_hpc.experiment.section import Section

SectionT = TypeVar("SectionT", bound=Section)
USER_ERROR, STOPPED = 2, 3
CLOSED_PIPE = 128 + signal.SIGPIPE


class Parser(argparse.ArgumentParser):
    """ArgumentParser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise UserError(f"{message}; see --help")


def run_command(command: Callable[[], int], stopped: str | None = None) -> int:
    """Run a front door's body; a user's mistake becomes one line on stderr and exit status 2.

    Where whoever reads the output has had enough, such as `head`, it ends as any program does that a closed pipe ends.

    Args:
        command: the body.
        stopped: what to say after Ctrl-C, which then is exit status 3; None: the front door hears it itself.
    """
    try:
        status = command()
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        if stopped is None:
            raise
        print(f"\nstopped; {stopped}", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left has nowhere to go
        return CLOSED_PIPE


def load_run(name: str, overrides: Sequence[str] = ()) -> RunConfig:
    """A run configuration, by name (`configs/run/NAME.yaml`) or by path."""
    return _load(RunConfig, "run", name, overrides)


def load_partition(name: str) -> Partition:
    """A partition, by name (`configs/partition/NAME.yaml`) or by path.

    Raises:
        UserError: there is none, its file is damaged or, as in a copy, names another one.
    """
    partition = _load(Partition, "partition", name, ())
    of_file = Path(name).name.removesuffix(".yaml").removesuffix(".yml")
    if partition.name != of_file:
        raise UserError(
            f"the partition file {name} has the name {partition.name}; a partition has the name of its file: set name: "
            f"{of_file}"
        )
    return partition


def root_of(given: str | None) -> Path:
    """The folder that holds the runs: the one that --root gives, else that of the partition `local`.

    Raises:
        UserError: as `user_path`.
    """
    return user_path(given or load_partition("local").root)


def find_run(run: str, root: Path, unstarted: bool = False) -> Path:
    """The folder of a run, by its name under the root or by its path.

    Args:
        run: name or path.
        root: folder that holds the runs.
        unstarted: accept also a run of which nothing has trained yet, see `is_run`.

    Raises:
        UserError: there is none.
    """
    candidates = (root / run, user_path(run))
    for folder in candidates:
        if is_run(folder, unstarted):
            return folder
    lacking = "a config.yaml or jobs" if unstarted else "a config.yaml"
    raise UserError(f"no run {run!r}: neither {candidates[0]} nor {candidates[1]} holds {lacking}")


def is_run(folder: Path, unstarted: bool = False) -> bool:
    """Whether a folder is a run's: it holds a config.yaml or, if `unstarted`, jobs that were sent off or started.

    Raises:
        UserError: it cannot be looked into.
    """
    paths = run_paths(folder)
    with files.readable(folder):
        return paths.run_config.is_file() or (unstarted and paths.jobs.is_dir())


def run_paths(folder: Path) -> RunPaths:
    """Names of the files in a folder that may be a run's; its name is not checked, so that any folder may be asked."""
    return RunPaths(RunConfig.model_construct(name=folder.name), folder.parent)


def _load(model: type[SectionT], kind: str, name: str, overrides: Sequence[str]) -> SectionT:
    if name.endswith((".yaml", ".yml")):
        path = user_path(name)
        return strict.load(model, path if exists(path) else user_path(name, checkout()), overrides)
    folder = checkout() / "configs" / kind
    path = folder / f"{name}.yaml"
    if not exists(path):
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise UserError(f"unknown {kind} {name!r}; known: {known}; or give the path of a YAML file")
    return strict.load(model, path, overrides)
