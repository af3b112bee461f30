"""Stage `evaluate`: samples and latents -> records, for the model and for three rows that tell what a number means.

Parts of a sample set are measured by the tasks of the job, or of its array, and what each clip measured is kept (see
`vdt_hpc.store.measures`); a number is put on record by the task that finds all its parts measured. Only what is not yet
there is measured, so that running again takes no time; a number that was missing for want of weights is measured once
they are there. What is damaged costs the numbers that need it: the others are put on record before the stage ends with
the faults.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set

from results.by_protocol import NEVER, Key, OfProtocol
from results.current import numbers_first
from results.faults import Faults
from results.measure import Gap, Measurer, Wanted, needed
from results.metrics import base
from results.protocol import of_run
from results.statistics import Outcome, Selection, outcome
from results.subjects import Beside, Reconstruction
from vdt_hpc.dist import Task, current_task
from vdt_hpc.errors import UserError
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.partition import Partition
from vdt_hpc.experiment.paths import RunPaths, paths_for
from vdt_hpc.experiment.provenance import code_commit
from vdt_hpc.experiment.signature import signature
from vdt_hpc.experiment.stages import StageResult
from vdt_hpc.stopping import StopFlag, Stopped
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.measures import Measures
from vdt_hpc.store.records import Record, merge_records, read_records
from vdt_hpc.store.samples import SampleSet


def run(config: RunConfig, partition: Partition) -> StageResult:
    """Measure this task's parts of every finished sample set of the newest checkpoint against the true frames.

    Raises:
        UserError: there are no samples or no latents, or they do not belong together.
        CostsAPart: something could not be measured; what this task could see to is on record.
    """
    paths = paths_for(config, partition)
    latents = LatentSet.open(config, paths)
    task, stop, faults = current_task(), StopFlag().install(), Faults()
    done = _by_key(read_records(paths.records))
    taken: set[Key] = set()
    sets = _newest_sets(config, paths, latents, faults)
    evaluations = [_Evaluation(config, latents, one, done, taken, faults) for one in sets]
    try:
        num_left = sum(evaluation.measure(task, stop) for evaluation in evaluations)
    except Stopped:
        return StageResult(f"stopped by {stop.reason}; what was measured is kept", complete=False)
    new, merged = _put_down(paths, evaluations, done)
    keys = dict.fromkeys(key for one in evaluations for key in one.keys)
    records = [merged[key] for key in keys if key in merged]
    faults.refuse(f"{_summary(len(new), records)}; run the stage evaluate again once that is mended")
    if num_left:
        return StageResult(f"{num_left} part(s) are still with other tasks")
    return StageResult(_summary(len(new), records), outputs={"records": str(paths.records)})


def _put_down(
    paths: RunPaths, evaluations: Sequence["_Evaluation"], done: Mapping[Key, Record]
) -> tuple[set[Key], Mapping[Key, Record]]:
    """Put what was measured whole on record: keys of that, and all records.

    Tasks that end at once write the same file, and the last one's stands. So each looks again after it has written,
    until nothing that is whole by then is missing.
    """
    put: set[Key] = set()
    while new := numbers_first((record for one in evaluations for record in one.records(done)), lambda one: one.key):
        merge_records(paths.records, new.values())
        put |= set(new)
        done = _by_key(read_records(paths.records))
    return put, done


class _Evaluation:
    """What is wanted of one sample set by all protocols, and what of it is on record.

    For `done` and `taken` see `OfProtocol`.
    """

    def __init__(
        self, config: RunConfig, latents: LatentSet, sample_set: SampleSet, done: Mapping[Key, Record],
        taken: set[Key], faults: Faults,
    ) -> None:  # fmt: skip
        self._set, self._faults, truth = sample_set, faults, latents.split("test")
        digests = _digests(sample_set, faults)
        self._parts = [
            OfProtocol(config, protocol, sample_set.info, _digest_of_all(digests), len(truth), done, taken)
            for protocol in of_run(config.evaluate)
            if protocol.is_for(sample_set.info.task)
        ]
        self._needed = needed([want for part in self._parts for want in part.wanted])
        metrics = {name: base.find(name) for _, name in self._needed}
        beside = Beside(sample_set.info, truth, Reconstruction(config, latents, sample_set.info.decode_precision))
        self._gaps: Set[Gap] = frozenset()
        self._measurer = Measurer(sample_set, digests, truth, metrics, beside, faults)
        self._commit = code_commit()

    def measure(self, task: Task, stop: StopFlag) -> int:
        """Measure this task's share; returns how many parts other tasks then have not yet measured whole.

        Raises:
            UserError: the disk is full.
            Stopped: by a signal.
        """
        own = task.share(self._set.info.num_parts())
        self._measurer.fill({gap for gap in self._measurer.gaps(self._needed) if gap[0] in own}, stop)
        self._gaps = self._measurer.gaps(self._needed)
        if not self._gaps:
            Measures(self._set.folder).remove_leftovers()
        return len({part for part, _ in self._gaps - self._measurer.lost})

    def records(self, done: Mapping[Key, Record]) -> list[Record]:
        """What is not on record, of what is measured whole by now."""
        self._gaps = self._measurer.gaps({want for _, want in self._gaps})  # others may have filled some since
        gaps = {want for _, want in self._gaps}
        outcome_of = self._outcome
        return [one for part in self._parts for one in part.records(done, gaps, outcome_of, self._commit)]

    def _outcome(self, want: Wanted, selection: Selection) -> Outcome | None:
        """None where what was kept is damaged."""
        (subject, name), num_parts = want, self._set.info.num_parts()
        try:
            return outcome(Measures(self._set.folder), num_parts, subject, base.find(name), selection)
        except UserError as error:
            self._faults.add(str(error))
            return None

    @property
    def keys(self) -> list[Key]:
        """Keys of the records of everything that this set is measured for."""
        return [key for part in self._parts for key in part.keys]


def _by_key(records: Iterable[Record]) -> dict[Key, Record]:
    return {record.key: record for record in records}


def _digests(sample_set: SampleSet, faults: Faults) -> list[str | None]:
    """Digest of each part's samples, empty where an older one has none; None where the part is damaged."""
    found: list[str | None] = []
    for part in range(sample_set.info.num_parts()):
        digest = None
        with faults.caught():
            digest = sample_set.digest(part)
        found.append(digest)
    return found


def _digest_of_all(digests: Sequence[str | None]) -> str | None:
    """Short name of what all parts hold; None where one is damaged, or none says what it holds, as older ones."""
    known = [digest for digest in digests if digest is not None]
    if len(known) < len(digests) or not any(known):
        return None
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]


def _newest_sets(config: RunConfig, paths: RunPaths, latents: LatentSet, faults: Faults) -> list[SampleSet]:
    """Finished sample sets of this run's newest sampled checkpoint: first those of the run's own way to sample, then of
    its further ways, then others.

    Raises:
        UserError: there are none, or they were made from other latents.
    """
    found, damaged = SampleSet.find_all(paths.samples)
    for line in damaged:
        faults.add(line)
    if not found:
        faults.refuse(f"there are no other finished samples in {paths.samples}")
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


def _summary(num_measured: int, records: Iterable[Record]) -> str:
    records = list(records)
    reasons = sorted({record.missing for record in records if record.missing and not record.missing.startswith(NEVER)})
    missing = f"; missing: {'; '.join(reasons)}" if reasons else ""
    if not num_measured:
        return f"already measured: {len(records)} records{missing}"
    return f"put {num_measured} of {len(records)} records down{missing}"
