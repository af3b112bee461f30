"""Stage `sample`: checkpoints and latents -> samples, from the averaged weights of the newest valid checkpoint.

Part i of a task belongs to rank i % world; ranks never talk, so any number of them, now or later, fills the same set:
the first to look writes down which checkpoint it is from.
"""

from jobs.choosing import Chooser
from vdt_hpc.dist import current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.provenance import code_commit
from vdt_hpc.experiment.sample_config import SampleConfig
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.experiment.tasks_config import TaskName
from vdt_hpc.stopping import StopFlag, Stopped
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.sample_info import SampleInfo
from vdt_hpc.store.samples import finish_set, missing_parts


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Generate every task's samples for the first test clips; goes on after the parts that are there.

    Raises:
        UserError: no checkpoint, or one that is gone while its samples are not finished; no latents, no test clips, no
            autoencoder, steps that the sampler cannot space, or no space.
    """
    paths, task = paths_for(config, partition), current_task()
    latents = LatentSet.open(config, paths)
    chooser, stop = Chooser(config, paths, _sets(config, latents), task), StopFlag().install()
    while True:
        infos, chosen = chooser.choose()
        if chosen is None:
            return StageResult(f"already sampled: {_summary(infos)}", outputs=_outputs(infos, paths))
        from jobs.sampling import Generator

        try:
            weights = chosen.load("ema")
        except FileNotFoundError:  # a training that goes on has removed it
            chooser.forget(chosen)
            continue
        generator = Generator(config, latents, weights, task, stop, partition)
        try:
            for info in infos:
                missing = set(missing_parts(paths.samples / info.name, info))
                own = [part for part in task.share(info.num_parts()) if part in missing]
                generator.fill(info, paths.samples / info.name, own)
        except Stopped:
            summary = f"stopped by {stop.reason}; parts that were finished are kept"
            return StageResult(summary, complete=False, outputs=_outputs(infos, paths))
        # Once more for all: parts of the first sets may have come from other tasks meanwhile.
        folders = {paths.samples / info.name: info for info in infos}
        left = [part for one in folders.items() if not finish_set(*one) for part in missing_parts(*one)]
        if not left:
            return StageResult(f"sampled {_summary(infos)} from {chosen.name}", outputs=_outputs(infos, paths))
        if chooser.is_chosen(chosen):
            return StageResult(f"{len(left)} part(s) are still with other tasks", outputs=_outputs(infos, paths))
        print(f"another task has found {chosen.name} gone and chosen another: going on with that", flush=True)


def _sets(config: RunConfig, latents: LatentSet) -> list[SampleInfo]:
    """What each sample set of the run is; the checkpoint is yet to be chosen.

    Raises:
        UserError: there are no test clips.
    """
    num_test = len(latents.split("test"))
    if not num_test:
        raise UserError(f"the latents at {latents.folder} have no test clips; give the stage encode a test split")
    sample, commit = config.sample, code_commit()
    num_frames = sample.num_frames or config.model.num_frames
    rolls = num_frames > config.model.num_frames

    counts = sample.counts(num_test)

    def describe(way: SampleConfig, task: TaskName) -> SampleInfo:
        given = sample.given(task, num_frames)
        return SampleInfo(
            run=config.name,
            dataset=config.data.dataset,
            task=task,
            given_frames=len(given),
            given=given,
            num_frames=num_frames,
            window_frames=config.model.num_frames if rolls else num_frames,
            overlap_frames=config.overlap_frames if rolls else 0,
            decode_precision=sample.decode_precision,
            num_clips=counts.num_clips,
            num_trajectories=counts.num_trajectories,
            num_repeated_clips=None if counts.num_repeated_clips == counts.num_clips else counts.num_repeated_clips,
            sampler=way.sampler,
            num_steps=way.num_steps,
            seed=sample.seed,
            checkpoint="",
            clips_seen=0,
            run_signature=signature(config),
            latents_fingerprint=latents.manifest.fingerprint,
            code_commit=commit,
        )

    return [describe(way, task) for way in sample.ways for task in sample.tasks]


def _summary(infos: list[SampleInfo]) -> str:
    ways = len({(info.sampler, info.num_steps) for info in infos})
    told = dict.fromkeys(f"{info.task}: {info.counts}" for info in infos)
    return ", ".join(told) + (f", each in {ways} ways" if ways > 1 else "")


def _outputs(infos: list[SampleInfo], paths: RunPaths) -> dict[str, str]:
    one_way = len({(info.sampler, info.num_steps) for info in infos}) == 1
    return {
        f"{info.task}{'' if one_way else f' {info.sampler} {info.num_steps}'} samples": str(paths.samples / info.name)
        for info in infos
    }
