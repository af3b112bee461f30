"""Where a number of a table comes from: the page shows it behind the number, the CSV beside it."""

from results import wording
from results.published import Published, PublishedRow
from results.tables.table import Origin
from vdt_hpc.store.records import Record


def of_record(label: str, record: Record) -> Origin:
    """What traces a number of ours: run, checkpoint, samples, protocol, latents, code; `label` is that of its row."""
    counts = [
        _count(record.num_clips, "clip"), _count(record.num_trajectories, "trajectory", "trajectories"),
        f"{record.given_frames} given of {_count(record.num_frames, 'frame')}",
    ]  # fmt: skip
    checkpoint, samples = "none: the model has no part in it", "none: nothing was sampled"
    if record.checkpoint is not None:
        checkpoint = f"{record.checkpoint}, {record.clips_seen or 0:,} clips seen"
    if record.samples is not None:
        samples = f"{record.samples}: {wording.way(record.sampler, record.num_steps)}, seed {record.seed}"
    facts = [
        ("Run", record.run), ("Checkpoint", checkpoint), ("Samples", samples),
        ("Protocol", f"{record.protocol}: {', '.join(counts)}"),
        ("Latents", f"{record.latents_fingerprint}, of {record.dataset}"), ("Code that measured", record.code_commit),
    ]  # fmt: skip
    if record.weights_sha256:
        facts.append(("Weights that measured", f"SHA-256 {record.weights_sha256}"))
    if record.decode_precision:
        facts.append(("Decoded in", record.decode_precision))
    return Origin(label, tuple(facts))


def of_published(row: PublishedRow, group: Published, metric: str) -> Origin:
    """What is known of a published number: its source, the list it was taken from, how it was measured."""
    facts = [("Source", row.source), ("Taken from", row.listed_in), ("Conditions", group.conditions)]
    facts.append(("Measured", row.protocol.text))
    if metric in row.doubts:
        facts.append(("Doubt", row.doubts[metric]))
    return Origin(row.method, tuple(facts))


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"
