"""What one protocol wants of a sample set, and the records of it."""

from collections.abc import Callable, Iterator, Mapping, Set

from results.measure import Wanted, needed
from results.metrics import base
from results.metrics.base import FrameMetric, SetMetric
from results.statistics import Outcome, Selection
from results.subjects import COPY, MODEL, REAL, SUBJECTS, reason_against
from vdt_hpc.experiment.config import RunConfig
from vdt_hpc.experiment.protocol import Protocol
from vdt_hpc.quality.weights import MARK
from vdt_hpc.store.records import Record
from vdt_hpc.store.sample_info import SampleInfo

Key = tuple[object, ...]
"""What a record measures."""
NEVER = "does not apply"
"""Begins every reason that nothing can lift."""


class OfProtocol:
    """What one protocol wants of a sample set, and what of it is not on record.

    Args:
        config: the run.
        protocol: which clips, trajectories and metrics.
        info: the sample set.
        digest: of its samples; None where nobody knows.
        num_test_clips: clips of the test split.
        done: what is on record.
        taken: keys of numbers that other sets of the same evaluation see to, since the rows beside the model are the
            same for all; its own are added.
    """

    def __init__(
        self, config: RunConfig, protocol: Protocol, info: SampleInfo, digest: str | None, num_test_clips: int,
        done: Mapping[Key, Record], taken: set[Key],
    ) -> None:  # fmt: skip
        lacks = protocol.lacks(info.counts, num_test_clips)
        chosen = protocol.chosen(info.counts, num_test_clips)
        self._selection = Selection(chosen, protocol.num_trajectories or info.counts.of_every_clip)
        self._describe = _Describe(config, protocol.name, info, digest, self._selection)
        self._digest = digest
        self._reasons = {
            (subject, name): lacks or reason_against(subject, base.find(name), info, chosen, config.data)
            for subject in SUBJECTS
            for name in protocol.metrics
        }
        self._keys = {want: self._describe.key(want) for want in self._reasons}
        self._own = [want for want, key in self._keys.items() if key not in taken]
        self._open = self._lacking(done)
        taken.update(key for want, key in self._keys.items() if not self._reasons[want])

    @property
    def wanted(self) -> list[Wanted]:
        """What is to be measured."""
        return [want for want in self._open if not self._reasons[want]]

    @property
    def keys(self) -> list[Key]:
        """Keys of all its records."""
        return list(self._keys.values())

    def records(
        self, done: Mapping[Key, Record], gaps: Set[Wanted], outcome: Callable[[Wanted, Selection], Outcome | None],
        commit: str,
    ) -> Iterator[Record]:  # fmt: skip
        """Records of what is not on record and was measured whole, and of what has a reason.

        Args:
            done: what is on record now.
            gaps: what was not measured whole.
            outcome: the number of what was; None: it cannot be told.
            commit: of the code.
        """
        for want in self._lacking(done):
            reason = self._reasons[want]
            if reason:
                yield self._describe.record(want, Outcome(None, reason), commit)
            elif gaps.isdisjoint(needed([want])) and (found := outcome(want, self._selection)):
                yield self._describe.record(want, found, commit)

    def _lacking(self, done: Mapping[Key, Record]) -> list[Wanted]:
        return [
            want for want in self._own
            if _is_open(done.get(self._keys[want]), self._reasons[want], base.find(want[1]),
                        self._digest if want[0] == MODEL else None)
        ]  # fmt: skip


def _is_open(record: Record | None, reason: str | None, metric: FrameMetric | SetMetric, digest: str | None) -> bool:
    """Whether something is to be put on record.

    It was not, or what it lacked is there now, or the samples or the metric are others now, or it never applied. A
    number whose weights are gone stands, as long as it is of these samples.
    """
    if record is None:
        return True
    is_of_others = digest is not None and record.samples_digest != digest
    if reason is not None:
        return record.value is not None and (is_of_others or reason.startswith(NEVER))
    if is_of_others or (record.missing is not None and MARK in record.missing):
        return True
    definition = metric.definition()
    return (record.definition, record.weights_sha256 or "") != (definition.digest, definition.weights_sha256)


class _Describe:
    """Puts outcomes of one sample set by one protocol on record."""

    def __init__(
        self, config: RunConfig, protocol: str, info: SampleInfo, digest: str | None, selection: Selection
    ) -> None:
        self._config, self._protocol, self._info, self._selection = config, protocol, info, selection
        self._digest = digest

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
            samples_digest=self._digest if generated else None,
            floor_clips=outcome.floor_clips,
        )

    def key(self, want: Wanted) -> Key:
        """Key of the record that an outcome would have."""
        return self.record(want, Outcome(0.0), "").key
