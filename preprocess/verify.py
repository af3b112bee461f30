"""Stage `verify`: are finished latents whole, and what their source gives? Writes nothing.

    frames, latents -> lines of what was checked, of what could not be, and of every fault

Three looks: the manifest against the run; every byte of every shard against the manifest and the run
(`verify_shards`); a few clips against their source, read and encoded once more (`verify_clips`).
"""

from __future__ import annotations

from pathlib import Path

from preprocess.findings import Findings
from preprocess.verify_clips import check_clips
from preprocess.verify_shards import check_shards
from vdt_hpc import dist, files
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import paths_for
from vdt_hpc.experiment.signature import recipe_differences
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.stopping import StopFlag, Stopped
from vdt_hpc.store.manifest import MANIFEST, Manifest, require_manifest


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Check the run's latents.

    Raises:
        UserError: there are none, they are of another recipe, or something is wrong with them; all faults are counted
            in the line, the first are named there, and each was printed when it was found.
    """
    task = dist.current_task()
    if task.rank:
        return StageResult("verify: rank 0 checks alone")
    paths = paths_for(config, partition)
    manifest = require_manifest(config, paths)
    stop, findings = StopFlag().install(), Findings()
    try:
        _check_manifest(config, paths.latents, manifest, findings)
        clips = check_shards(config, paths.latents, manifest, findings, stop)
        check_clips(config, paths, manifest, clips, findings, stop, task)
    except Stopped:
        so_far = f" with {findings.count()} so far" if findings.faults else ""
        return StageResult(f"verify: stopped by {stop.reason}{so_far}", complete=False)
    findings.refuse(paths.latents, "copy what is damaged again, or remove the latents and run encode")
    return StageResult(f"verify: {findings.summary()}", outputs={"latents": str(paths.latents)})


def _check_manifest(config: RunConfig, folder: Path, manifest: Manifest, findings: Findings) -> None:
    """The signature is this run's, or there would be no manifest; does the rest of the manifest agree with it?"""
    before = len(findings.faults)
    for phrase in recipe_differences(manifest.recipe, config):
        findings.fault(f"the recipe in {MANIFEST} does not go with its signature: {phrase}")
    stated = files.read_json(folder / MANIFEST).get("fingerprint")
    if stated != manifest.fingerprint:
        findings.fault(f"{MANIFEST} states the fingerprint {stated}, and what it lists gives {manifest.fingerprint}")
    if len(findings.faults) == before:
        findings.check(f"manifest {manifest.fingerprint} of this run's recipe ({manifest.signature})")
