"""Stage `evaluate`: samples and latents -> records, for the model and for three rows that tell what a number means.

Only what is not yet on record is measured, so that running again takes no time; a number that was missing for want
of weights is measured once they are there.
"""

from collections.abc import Iterable

from results.measure import Outcome, Wanted, measure
from results.metrics import base
from results.metrics.base import ClipMetric, SetMetric
from results.subjects import COPY, MODEL, REAL, SUBJECTS, Beside, Reconstruction, reason_against
from results.weights import MARK
from vdt_hpc.dist import current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.provenance import code_commit
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.records import Record, merge_records, read_records
from vdt_hpc.store.sample_info import SampleInfo
from vdt_hpc.store.samples import SampleSet

Metrics = dict[str, ClipMetric | SetMetric]


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Measure every finished sample set of the newest checkpoint against the true frames; rank 0 does it all.

    Raises:
        UserError: there are no samples or no latents, or they do not belong together.
    """
    if current_task().rank != 0:
        return StageResult("rank 0 measures")
    paths = paths_for(config, partition)
    latents = LatentSet.open(config, paths)
    truth = latents.split("test")
    metrics: Metrics = {name: base.find(name) for name in config.evaluate.metrics}
    num_measured = 0
    current: list[Record] = []
    for sample_set in _newest_sets(config, paths, latents):
        describe = _Describe(config, sample_set.info)
        reasons = {
            (subject, name): reason_against(subject, metric, sample_set.info, config.data.frames_per_clip)
            for subject in SUBJECTS
            for name, metric in metrics.items()
        }
        done = {record.key: record for record in read_records(paths.records)}
        open_wants = [want for want, reason in reasons.items() if _is_open(done.get(describe.key(want)), reason)]
        outcomes = {want: Outcome(None, missing=reasons[want]) for want in open_wants if reasons[want]}
        wanted = [want for want in open_wants if not reasons[want]]
        if wanted:
            beside = Beside(sample_set.info, truth, Reconstruction(config, latents, sample_set.info.decode_precision))
            outcomes |= measure(sample_set, truth, wanted, metrics, beside)
        if outcomes:
            commit = code_commit()
            new = [describe.record(want, outcome, commit) for want, outcome in outcomes.items()]
            done = {record.key: record for record in merge_records(paths.records, new)}
        num_measured += len(outcomes)
        current += [done[describe.key(want)] for want in reasons]
    return StageResult(_summary(num_measured, current), outputs={"records": str(paths.records)})


def _newest_sets(config: RunConfig, paths: RunPaths, latents: LatentSet) -> list[SampleSet]:
    """Finished sample sets of this run's newest sampled checkpoint, in order of name.

    Raises:
        UserError: there are none, or they were made from other latents.
    """
    found = SampleSet.find_all(paths.samples)
    if not found:
        raise UserError(f"no finished samples in {paths.samples}; run the stage sample first")
    own = [one for one in found if one.info.run_signature == signature(config)]
    if not own:
        raise UserError(
            f"the samples in {paths.samples} were made with other settings of this run; run the stage sample first"
        )
    fingerprint = latents.manifest.fingerprint
    fitting = [one for one in own if one.info.latents_fingerprint == fingerprint]
    if not fitting:
        raise UserError(f"the samples in {paths.samples} were made from other latents; run the stage sample again")
    newest = max(one.info.clips_seen for one in fitting)
    return [one for one in fitting if one.info.clips_seen == newest]


def _is_open(record: Record | None, reason: str | None) -> bool:
    """Whether something is to be measured: it was not, or what it lacked is there now."""
    return record is None or (reason is None and record.missing is not None and MARK in record.missing)


class _Describe:
    """Puts outcomes of one sample set on record."""

    def __init__(self, config: RunConfig, info: SampleInfo) -> None:
        self._config, self._info = config, info

    def record(self, want: Wanted, outcome: Outcome, commit: str) -> Record:
        """The record of one outcome."""
        (subject, metric), info = want, self._info
        generated = subject == MODEL
        low, high = outcome.interval or (None, None)
        return Record(
            run=self._config.name,
            dataset=info.dataset,
            subject=subject,
            task=info.task,
            protocol=self._config.evaluate.protocol,
            metric=metric,
            value=outcome.value,
            missing=outcome.missing,
            interval_low=low,
            interval_high=high,
            num_clips=info.num_clips,
            num_trajectories=info.num_trajectories if generated else 1,
            num_frames=info.num_frames,
            given_frames=info.given_frames,
            given=None if info.given == tuple(range(info.given_frames)) else info.given,
            sampler=info.sampler if generated else None,
            num_steps=info.num_steps if generated else None,
            seed=info.seed if generated else None,
            checkpoint=info.checkpoint if generated else None,
            clips_seen=info.clips_seen if generated else None,
            samples=info.name if generated else None,
            latents_fingerprint=info.latents_fingerprint,
            code_commit=commit,
            decode_precision=None if subject in (COPY, REAL) or info.decode_precision == "fp32" else "bf16",
        )

    def key(self, want: Wanted) -> tuple[object, ...]:
        """Key of the record that an outcome would have."""
        return self.record(want, Outcome(0.0), "").key


def _summary(num_measured: int, records: Iterable[Record]) -> str:
    records = list(records)
    reasons = sorted(
        {record.missing for record in records if record.missing and "does not apply" not in record.missing}
    )
    missing = f"; missing: {'; '.join(reasons)}" if reasons else ""
    if not num_measured:
        return f"already measured: {len(records)} records{missing}"
    return f"put {num_measured} of {len(records)} records down{missing}"
