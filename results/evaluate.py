"""Stage `evaluate`: samples and latents -> records, for the model and for three rows that tell what a number means.

Parts of a sample set are measured by the tasks of the job, or of its array, and what each clip measured is kept (see
`vdt_hpc.store.measures`); the task that finds all parts measured puts the records down. Only what is not yet there is
measured, so that running again takes no time; a number that was missing for want of weights is measured once they are
there.
"""

from collections.abc import Iterable, Mapping, Sequence

from results.measure import Measurer, Wanted, needed
from results.metrics import base
from results.metrics.base import FrameMetric, SetMetric
from results.protocol import of_run
from results.statistics import Outcome, Selection, outcome
from results.subjects import COPY, MODEL, REAL, SUBJECTS, Beside, Reconstruction, reason_against
from vdt_hpc.dist import Task, current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.protocol import Protocol, plain_name
from vdt_hpc.experiment.provenance import code_commit
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.quality.weights import MARK
from vdt_hpc.stopping import StopFlag, Stopped
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.measures import Measures
from vdt_hpc.store.records import Record, merge_records, read_records
from vdt_hpc.store.sample_info import SampleInfo
from vdt_hpc.store.samples import SampleSet

Key = tuple[object, ...]
"""What a record measures."""


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Measure this task's parts of every finished sample set of the newest checkpoint against the true frames.

    Raises:
        UserError: there are no samples or no latents, or they do not belong together.
    """
    paths = paths_for(config, partition)
    latents = LatentSet.open(config, paths)
    task, stop = current_task(), StopFlag().install()
    done = read_records(paths.records)
    taken: set[Key] = set()
    sets = _newest_sets(config, paths, latents)
    evaluations = [_Evaluation(config, latents, one, _by_key(done), taken) for one in sets]
    try:
        num_left = sum(evaluation.measure(task, stop) for evaluation in evaluations)
    except Stopped:
        return StageResult(f"stopped by {stop.reason}; what was measured is kept", complete=False)
    if num_left:
        return StageResult(f"{num_left} part(s) are still with other tasks")
    new = _new_records(evaluations)
    merged = _by_key(merge_records(paths.records, new) if new else done)
    records = [merged[key] for key in dict.fromkeys(key for one in evaluations for key in one.keys)]
    return StageResult(_summary(len(new), records), outputs={"records": str(paths.records)})


class _Evaluation:
    """What is wanted of one sample set by all protocols, and what of it is on record.

    `taken` are the keys of numbers that other sets of the same evaluation see to, since the rows beside the model are
    the same for all; its own are added.
    """

    def __init__(
        self, config: RunConfig, latents: LatentSet, sample_set: SampleSet, done: Mapping[Key, Record], taken: set[Key]
    ) -> None:
        self._set, truth = sample_set, latents.split("test")
        self._parts = [
            _Part(config, protocol, sample_set.info, len(truth), done, taken)
            for protocol in of_run(config.evaluate)
            if protocol.is_for(sample_set.info.task)
        ]
        wants = [(subject, plain_name(name)) for part in self._parts for subject, name in part.wanted]
        metrics = {name: base.find(name) for _, name in wants}
        self._needed = needed(list(dict.fromkeys(wants)), metrics)
        beside = Beside(sample_set.info, truth, Reconstruction(config, latents, sample_set.info.decode_precision))
        self._measurer = Measurer(sample_set, truth, metrics, beside)

    def measure(self, task: Task, stop: StopFlag) -> int:
        """Measure this task's share; returns how many parts then are not yet measured whole.

        Raises:
            Stopped: by a signal.
        """
        missing = self._measurer.missing(self._needed)
        own = task.share(self._set.info.num_parts())
        self._measurer.fill({part: wants for part, wants in missing.items() if part in own}, stop)
        return len(self._measurer.missing(self._needed))

    def new_records(self) -> list[Record]:
        """What is not yet on record, now that all of it was measured."""
        Measures(self._set.folder).remove_leftovers()
        commit = code_commit()
        return [record for part in self._parts for record in part.new_records(self._set, commit)]

    @property
    def keys(self) -> list[Key]:
        """Keys of the records of everything that this set is measured for."""
        return [key for part in self._parts for key in part.keys]


def _new_records(evaluations: Sequence[_Evaluation]) -> list[Record]:
    """What is not yet on record.

    Of a row beside the model that one set lacks clips for and another has them, the number counts.
    """
    new: dict[Key, Record] = {}
    for record in (one for evaluation in evaluations for one in evaluation.new_records()):
        if record.key not in new or record.value is not None:
            new[record.key] = record
    return list(new.values())


def _by_key(records: Iterable[Record]) -> dict[Key, Record]:
    return {record.key: record for record in records}


class _Part:
    """What one protocol wants of a sample set."""

    def __init__(
        self,
        config: RunConfig,
        protocol: Protocol,
        info: SampleInfo,
        num_test_clips: int,
        done: Mapping[Key, Record],
        taken: set[Key],
    ) -> None:
        lacks = protocol.lacks(info.counts, num_test_clips)
        chosen = protocol.chosen(info.counts, num_test_clips)
        self._selection = Selection(chosen, protocol.num_trajectories or info.counts.of_every_clip)
        self._describe = _Describe(config, protocol.name, info, self._selection)
        self._reasons = {
            (subject, name): lacks or reason_against(subject, base.find(name), info, chosen, config.data)
            for subject in SUBJECTS
            for name in protocol.metrics
        }
        keys = {want: self._describe.key(want) for want in self._reasons}
        self._open = [
            want for want, why in self._reasons.items()
            if keys[want] not in taken and _is_open(done.get(keys[want]), why, base.find(want[1]))
        ]  # fmt: skip
        taken.update(key for want, key in keys.items() if not self._reasons[want])

    @property
    def wanted(self) -> list[Wanted]:
        """What is to be measured."""
        return [want for want in self._open if not self._reasons[want]]

    @property
    def keys(self) -> list[Key]:
        """Keys of all its records."""
        return [self._describe.key(want) for want in self._reasons]

    def new_records(self, sample_set: SampleSet, commit: str) -> list[Record]:
        """Records of what was not yet put down, now that all of it was measured."""
        kept, num_parts = Measures(sample_set.folder), sample_set.info.num_parts()
        records = []
        for subject, name in self._open:
            reason = self._reasons[subject, name]
            found = (
                Outcome(None, reason) if reason
                else outcome(kept, num_parts, subject, base.find(name), self._selection)
            )  # fmt: skip
            records.append(self._describe.record((subject, name), found, commit))
        return records


def _newest_sets(config: RunConfig, paths: RunPaths, latents: LatentSet) -> list[SampleSet]:
    """Finished sample sets of this run's newest sampled checkpoint: first those of the run's own way to sample, then of
    its further ways, then others.

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
    ways = [(way.sampler, way.num_steps) for way in config.sample.ways]

    def place(one: SampleSet) -> tuple[int, str]:
        way = (one.info.sampler, one.info.num_steps)
        return (ways.index(way) if way in ways else len(ways), one.info.name)

    return sorted((one for one in fitting if one.info.clips_seen == newest), key=place)


def _is_open(record: Record | None, reason: str | None, metric: FrameMetric | SetMetric) -> bool:
    """Whether something is to be measured: it was not, what it lacked is there now, or the metric is another now."""
    if record is None or reason is not None:
        return record is None
    if record.missing is not None and MARK in record.missing:
        return True
    definition = metric.definition()
    return (record.definition, record.weights_sha256 or "") != (definition.digest, definition.weights_sha256)


class _Describe:
    """Puts outcomes of one sample set by one protocol on record."""

    def __init__(self, config: RunConfig, protocol: str, info: SampleInfo, selection: Selection) -> None:
        self._config, self._protocol, self._info, self._selection = config, protocol, info, selection

    def record(self, want: Wanted, outcome: Outcome, commit: str) -> Record:
        """The record of one outcome."""
        (subject, metric), info = want, self._info
        generated = subject == MODEL
        low, high = outcome.interval or (None, None)
        definition = outcome.definition
        return Record(
            run=self._config.name,
            dataset=info.dataset,
            subject=subject,
            task=info.task,
            protocol=self._protocol,
            metric=metric,
            value=outcome.value,
            missing=outcome.missing,
            interval_low=low,
            interval_high=high,
            num_clips=len(self._selection.clips),
            num_trajectories=self._selection.num_trajectories if generated else 1,
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
            definition=definition.digest if definition else None,
            weights_sha256=(definition.weights_sha256 or None) if definition else None,
            floor_clips=outcome.floor_clips,
        )

    def key(self, want: Wanted) -> Key:
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
