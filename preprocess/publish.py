"""The end of an encode: every shard is looked at, and the manifest makes them a set."""

from __future__ import annotations

from collections.abc import Sequence

from preprocess.ceiling import summary
from preprocess.claim import Claim
from preprocess.shards import ShardPlan
from preprocess.source.index import Index
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.signature import latents_recipe, latents_signature
from vdt_hpc.experiment.size import MEASURED_SPLITS
from vdt_hpc.progress import Progress
from vdt_hpc.store import latents
from vdt_hpc.store import manifest as manifests
from vdt_hpc.store.latents import ShardNotes
from vdt_hpc.store.manifest import Manifest


def publish(config: RunConfig, index: Index, plans: Sequence[ShardPlan], claim: Claim) -> Manifest:
    """Look at the finished shards and describe them; from now on the latents exist.

    Returns:
        The manifest that is there now: a task of another run may have been the first to write one.

    Raises:
        UserError: a shard does not hold the clips that it was planned for, it is named; or the shards are made from
            something else by now.
    """
    folder = claim.folder
    described, notes = [], []
    with Progress("look at shards", len(plans), "shards") as progress:
        for plan in plans:
            found = latents.read_notes(plan.path)
            _require_planned(plan, found)
            described.append(latents.describe_shard(plan.path, plan.split))
            notes.append(found)
            progress.advance()
    deviations = [found.bf16_deviation for found in notes if found.bf16_deviation is not None]
    manifest = Manifest(
        dataset=config.data.dataset,
        signature=latents_signature(config),
        source_fingerprint=index.fingerprint,
        recipe=latents_recipe(config),
        autoencoder=claim.made_from["autoencoder"],
        left_out=(*index.not_used, *(line for found in notes for line in found.left_out)),
        shards=tuple(described),
        ceiling=_ceilings(plans, notes),
        bf16_deviation=sum(deviations) / len(deviations) if deviations else None,
    )  # fmt: skip
    claim.require()
    manifests.write_manifest(folder, manifest)
    return manifests.read_manifest(folder) or manifest


def _require_planned(plan: ShardPlan, found: ShardNotes) -> None:
    held = set(found.clip_ids)
    planned = [clip.clip_id for clip in plan.clips if clip.clip_id in held]
    if planned != list(found.clip_ids) or len(plan.clips) != len(held) + len(found.left_out):
        raise UserError(
            f"{plan.path} does not hold the clips that belong to it; remove it and run the stage encode again"
        )


def _ceilings(plans: Sequence[ShardPlan], notes: Sequence[ShardNotes]) -> dict[str, dict[str, float | None]]:
    ceilings: dict[str, dict[str, float | None]] = {}
    for split in MEASURED_SPLITS:
        pairs = zip(plans, notes, strict=True)
        measured = [found.ceiling for plan, found in pairs if plan.split == split and found.clip_ids]
        if measured:
            ceilings[split] = summary(measured)
    return ceilings
