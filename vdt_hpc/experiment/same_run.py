"""Whether a configuration goes on with the run of its name, or would compute something else under that name."""

from vdt_hpc import files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment import strict
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.signature import differing_fields, signature


def require_same_run(config: RunConfig, paths: RunPaths) -> None:
    """Refuse to go on with a run whose configuration computes something else; a new run is fine.

    Raises:
        UserError: it does (the fields that differ are named), or the folder of the run cannot be read.
    """
    with files.explained(paths.run):
        is_new = not paths.run_config.exists()
    if is_new:
        return
    first = strict.load(RunConfig, paths.run_config)
    if signature(first) != signature(config):
        raise UserError(
            f"the run {config.name} was started with other settings ({', '.join(differing_fields(first, config))}); "
            f"choose another name=..., or set them back to what {paths.run_config} says"
        )
