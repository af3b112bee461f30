"""What the latents' manifest says of the data that a run was measured on: the autoencoder's ceiling, what was left out.

The ceiling is the mean over all frames of all clips of a split, of the reconstruction from the stored latents. The row
`autoencoder` of a table is another number: over the generated frames alone, clip by clip, as the model is measured.
"""

from collections.abc import Collection, Mapping

from results.metrics import base
from vdt_hpc.experiment.config import SPLITS, Split
from vdt_hpc.store.manifest import Manifest

CEILING_OF = {"psnr": "psnr_db", "ssim": "ssim", "lpips": "lpips"}
"""Metric of a table -> its name in the manifest."""
_MOST_LINES = 20


def facts(manifest: Manifest, measured_on: Collection[str]) -> list[tuple[str, str]]:
    """(what it is, what the manifest says), for people.

    Args:
        manifest: of the latents that lie here now.
        measured_on: fingerprints of the latents that the numbers were measured on.
    """
    rows = []
    if manifest.fingerprint not in measured_on:
        rows.append(("Latents here now", f"{manifest.fingerprint}, made since; what follows is said of them"))
    recorded = [split for split in SPLITS if split in manifest.ceiling]
    rows += [(f"Autoencoder's ceiling, {split}", _ceiling(manifest, split)) for split in recorded]
    if not recorded:
        rows.append(("Autoencoder's ceiling", "not recorded with these latents"))
    count = len(manifest.left_out)
    lines = f"{count:,} line{'s' if count != 1 else ''}, below" if count else "nothing"
    return [*rows, ("Left out of the data set", lines)]


def to_markdown(manifest: Manifest | None, measured_on: Collection[str]) -> list[str]:
    """Lines of a section that follows the tables; none without a manifest. For the arguments see `facts`."""
    if manifest is None:
        return []
    lines = ["## Data", "", *(f"- {name}: {text}." for name, text in facts(manifest, measured_on))]
    lines += [f"  - `{' '.join(line.split()).replace('`', chr(39))}`" for line in manifest.left_out[:_MOST_LINES]]
    if len(manifest.left_out) > _MOST_LINES:
        lines.append(f"  - {len(manifest.left_out) - _MOST_LINES} more, on the page")
    return [*lines, ""]


def _num_clips(manifest: Manifest, split: Split) -> int:
    return sum(shard.num_clips for shard in manifest.shards if shard.split == split)


def _ceiling(manifest: Manifest, split: Split) -> str:
    means: Mapping[str, float | None] = manifest.ceiling[split]
    words = []
    for metric, name in CEILING_OF.items():
        mean = means.get(name)
        known = base.find(metric)
        words.append(f"{known.label} {'not measured' if mean is None else known.shown(mean)}")
    num_identical = int(means.get("num_identical_frames") or 0)
    identical = f" ({num_identical} identical frames not in the PSNR)" if num_identical else ""
    num_clips = _num_clips(manifest, split)
    clips = f"all {num_clips:,} clips" if num_clips != 1 else "the one clip"
    return f"{', '.join(words)}{identical}; mean over all frames of {clips}, reconstructed from the stored latents"
