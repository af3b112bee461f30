"""Where a run goes on: the newest valid checkpoint, chosen by rank 0 and loaded by all."""

from vdt_hpc.dist import ProcessGroup
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.signature import signature
from vdt_hpc.store import checkpoint
from vdt_hpc.store.checkpoint import Checkpoint


def choose(config: RunConfig, paths: RunPaths, group: ProcessGroup, latents_fingerprint: str) -> Checkpoint | None:
    """The checkpoint to go on from, the same on every rank; None starts at zero.

    Raises:
        UserError: every checkpoint is damaged, or the newest valid one belongs to something else.
    """
    word, fault = "", ""
    if group.task.rank == 0:
        try:
            word = _newest(config, paths, latents_fingerprint)
        except UserError as error:  # told to the other ranks, then raised on all
            fault = str(error)
    fault = group.broadcast_text(fault)
    if fault:
        raise UserError(fault)
    name = group.broadcast_text(word)
    return checkpoint.read(paths.checkpoints / name) if name else None


def _newest(config: RunConfig, paths: RunPaths, latents_fingerprint: str) -> str:
    found = checkpoint.newest(paths.checkpoints, signature(config))
    if found is None:
        if checkpoint.folders(paths.checkpoints):
            raise UserError(
                f"every checkpoint in {paths.checkpoints} is damaged; remove them to start from zero, or restore one"
            )
        return ""
    if found.provenance.latents_fingerprint != latents_fingerprint:
        raise UserError(
            f"{found.path} was trained on latents {found.provenance.latents_fingerprint}, those of "
            f"{paths.latents} are {latents_fingerprint}; choose another name for this run"
        )
    return found.name
