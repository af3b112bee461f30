"""The manifest that makes shards of latents a set: `manifest.json`, written last. Reading it needs no h5py."""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from vdt_hpc import exclusive, files, typed
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig, Split
from vdt_hpc.experiment.paths import RunPaths
from vdt_hpc.experiment.signature import latents_signature, recipe_differences

MANIFEST = "manifest.json"
ENCODING = "encoding.json"
"""Written before the first shard: what the shards are made from, and how many there will be."""


@dataclass(frozen=True)
class Shard:
    """One shard, as the manifest lists it."""

    file: str
    split: Split
    num_clips: int
    sha256: str


def _identified(autoencoder: dict[str, Any]) -> dict[str, Any]:
    if not (isinstance(autoencoder.get("sha256"), str) and isinstance(autoencoder.get("scaling_factor"), float | int)):
        raise ValueError("it lacks sha256 or scaling_factor")
    return autoencoder


@dataclass(frozen=True)
class Manifest:
    """What a set of latents is: its parts, where they came from and how they were made."""

    dataset: str
    signature: str
    """`latents_signature` of the run configuration that made them."""
    source_fingerprint: str
    """Hash of the names and sizes of the frames' files."""
    recipe: dict[str, Any]
    """The sections of the run configuration that decide the latents: data, streets (of made-up clips), autoencoder."""
    autoencoder: Annotated[dict[str, Any], AfterValidator(_identified)]
    """Identity of the autoencoder: `source`, `sha256` of its weights, `scaling_factor`."""
    left_out: tuple[str, ...]
    """What of the source did not become a clip, and why, one line each."""
    shards: tuple[Shard, ...]
    ceiling: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """For each measured split that has clips: the mean over all frames of `psnr_db`, `ssim` and `lpips` of the
    autoencoder's reconstruction, which no latent model can beat; None: not measured, for want of weights or of
    pixels. `psnr_db` is over the frames that differ from their truth; `num_identical_frames` counts the others."""
    bf16_deviation: float | None = None
    """With `autoencoder.encode_precision: bf16`, root mean square difference of the means from those of fp32, as a
    fraction of the root mean square of these; one clip of each shard is measured."""

    @property
    def fingerprint(self) -> str:
        """Hash of the latents' bytes and the autoencoder (12 hex digits): the same latents anywhere have the same."""
        parts = [self.signature, str(self.autoencoder["sha256"]), *(shard.sha256 for shard in self.shards)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    @property
    def scaling_factor(self) -> float:
        """Factor that brings latents to about unit standard deviation; the model sees latent x factor."""
        return float(self.autoencoder["scaling_factor"])


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, unless there is one: from now on the latents exist, and stay what they are."""
    exclusive.write_json(folder / MANIFEST, asdict(manifest) | {"fingerprint": manifest.fingerprint})


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, or None where there is none.

    Raises:
        UserError: the manifest is damaged, or the folder may not be read.
    """
    path = folder / MANIFEST
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; choose a root that you may use") from None
    content = files.read_json(path)
    return typed.read(Manifest, content, path, "it", "remove it and run the stage encode again")


def require_manifest(config: RunConfig, paths: RunPaths) -> Manifest:
    """The manifest of a run's latents.

    Raises:
        UserError: they are not there, not finished, or of another recipe.
    """
    manifest = read_manifest(paths.latents)
    if manifest is None:
        raise UserError(f"no finished latents at {paths.latents}; run the stage encode first")
    refuse_another_recipe(config, paths.latents, manifest)
    return manifest


def refuse_another_recipe(config: RunConfig, folder: Path, manifest: Manifest) -> None:
    """Make sure that the latents in a folder are of a run's recipe.

    The folder's name holds the signature, so they can only differ where somebody moved or edited something.

    Raises:
        UserError: they are not; it names the fields that differ.
    """
    wanted = latents_signature(config)
    if manifest.signature == wanted:
        return
    differing = ", ".join(recipe_differences(manifest.recipe, config))
    if not differing:
        differing = f"their signature is {manifest.signature}, not {wanted}, though no field in their recipe differs"
    raise UserError(f"the latents at {folder} belong to another recipe: {differing}; remove them and run encode")
