"""What unfinished latents are made from, in `encoding.json`: shards of other frames or autoencoders never mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.shards import ShardPlan
from preprocess.source.index import Index
from vdt_hpc import exclusive, files
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.signature import latents_signature
from vdt_hpc.store.manifest import ENCODING


@dataclass(frozen=True)
class Claim:
    """What a task makes the shards of a folder from."""

    folder: Path
    made_from: files.Json

    @classmethod
    def take(
        cls, folder: Path, config: RunConfig, index: Index, plans: Sequence[ShardPlan], identity: dict[str, Any]
    ) -> Claim:
        """Write down what the shards are made from, unless earlier ones are there, and `require` that it is the same.

        Args:
            folder: of the latents.
            config: the run.
            index: of its frames.
            plans: all shards that there will be.
            identity: of the autoencoder.

        Raises:
            UserError: it is not.
        """
        claim = cls(folder, {
            "signature": latents_signature(config),
            "source_fingerprint": index.fingerprint,
            "autoencoder": identity,
            "num_shards": len(plans),
            "num_frames": sum(plan.num_frames for plan in plans),
        })  # fmt: skip
        exclusive.write_json(folder / ENCODING, claim.made_from)
        claim.require()
        return claim

    def require(self) -> None:
        """Make sure that the folder's shards are still made from the same.

        Raises:
            UserError: they are not, or the folder is gone.
        """
        if files.read_json(self.folder / ENCODING) != self.made_from:
            raise UserError(
                f"{self.folder} holds unfinished latents of other frames or another autoencoder; "
                "remove it and encode again"
            )
