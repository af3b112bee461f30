"""The stage `evaluate` on made-up runs: every row, every reason, nothing twice, nothing from given frames."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vdt_hpc.errors import UserError
from vdt_hpc.quality.distortion import psnr, ssim
from vdt_hpc.quality.pixels import Pixels
from vdt_hpc.store.records import read_records

SUBJECTS = ("model", "copy-last-frame", "autoencoder", "real-against-real")
GIVEN = 2


def by_want(run, task="prediction"):
    records = [record for record in read_records(run.paths.records) if record.task == task]
    table = {(record.subject, record.metric): record for record in records}
    assert len(table) == len(records)
    return table


def mean_over_clips(measure, truth, others):
    pairs = zip(truth, others, strict=True)
    return np.mean([measure(Pixels(one[GIVEN:]), Pixels(other[GIVEN:])) for one, other in pairs])


def test_every_row_is_what_it_says(made_up):
    made_up.write_samples(made_up.samples[:, :1])
    result = made_up.evaluate()
    assert "32 of 32" not in result.summary and "16 of 16" in result.summary
    records, truth = by_want(made_up), made_up.frames
    others = {
        "model": made_up.samples[:, 0],
        "copy-last-frame": np.repeat(truth[:, GIVEN - 1 : GIVEN], truth.shape[1], axis=1),
        "real-against-real": np.roll(truth, -1, axis=0),
    }
    for subject, clips in others.items():
        for name, measure in (("psnr", psnr), ("ssim", ssim)):
            assert records[subject, name].value == pytest.approx(mean_over_clips(measure, truth, clips), rel=1e-12)
    for (subject, name), record in records.items():
        assert (record.num_clips, record.num_frames, record.given_frames) == (4, 12, GIVEN)
        assert (record.samples is not None) == (subject == "model")
        if name in ("psnr", "ssim"):
            assert record.interval_low <= record.value <= record.interval_high
        else:
            assert "weights not found" in record.missing
    assert {subject for subject, _ in records} == set(SUBJECTS)


def test_the_ceiling_is_the_autoencoders_own_reconstruction(made_up):
    import torch

    from vdt_hpc.model import autoencoder
    from vdt_hpc.store.latents import LatentSet

    made_up.write_samples(made_up.samples[:, :1])
    made_up.evaluate(metrics=("psnr",))
    split = LatentSet.open(made_up.config, made_up.paths).split("test")
    loaded = autoencoder.load(made_up.config.autoencoder, torch.device("cpu"))
    means = [torch.from_numpy(split.moments(index)[0].astype(np.float32)) for index in range(4)]
    clips = [autoencoder.decode(loaded, mean, 5) for mean in means]
    expected = mean_over_clips(psnr, made_up.frames, clips)
    assert by_want(made_up)["autoencoder", "psnr"].value == pytest.approx(expected, abs=1e-3)


def test_the_ceiling_is_decoded_as_the_samples_are(made_up):
    from results.tables.building import name_of

    for precision in ("fp32", "bf16"):
        made_up.write_samples(made_up.samples[:, :1], made_up.info(decode_precision=precision))
        made_up.evaluate(metrics=("psnr",))
    records = [r for r in read_records(made_up.paths.records) if r.subject == "autoencoder"]
    exact, rough = sorted(records, key=lambda r: r.decode_precision is not None)
    assert (exact.decode_precision, rough.decode_precision) == (None, "bf16")
    assert exact.value != rough.value
    assert rough.value == pytest.approx(exact.value, abs=2)
    assert "bf16" not in name_of(exact)[1]
    assert name_of(rough)[1].endswith("decoded in bf16")
    beside = [r for r in read_records(made_up.paths.records) if r.subject == "copy-last-frame"]
    assert len(beside) == 1


def test_given_frames_never_count(made_up, tiny_i3d):
    tiny_i3d()
    made_up.write_samples(made_up.samples[:, :1])
    made_up.evaluate(metrics=("psnr", "ssim", "fvd"))
    before = by_want(made_up)
    changed = made_up.samples[:, :1].copy()
    changed[:, :, :GIVEN] = 255 - changed[:, :, :GIVEN]
    made_up.write_samples(changed, made_up.info(seed=1))
    made_up.evaluate(metrics=("psnr", "ssim", "fvd"))
    records = [r for r in read_records(made_up.paths.records) if r.subject == "model" and r.seed == 1]
    assert {r.metric: r.value for r in records} == {
        name: before["model", name].value for name in ("psnr", "ssim", "fvd")
    }


def test_trajectories_count_as_their_mean(made_up, tiny_i3d):
    tiny_i3d()
    both = made_up.write_samples(made_up.samples)
    singles = [made_up.write_samples(made_up.samples[:, [k]], made_up.info(seed=10 + k)) for k in range(2)]
    made_up.evaluate(metrics=("ssim", "fvd"))
    values = {(r.samples, r.metric): r.value for r in read_records(made_up.paths.records) if r.subject == "model"}
    for name in ("ssim", "fvd"):
        expected = np.mean([values[single.name, name] for single in singles])
        assert values[both.name, name] == pytest.approx(expected, rel=1e-9)


def test_running_again_does_nothing_and_imports_nothing_heavy(made_up):
    made_up.write_samples(made_up.samples[:, :1])
    made_up.evaluate()
    stamp = made_up.paths.records.stat().st_mtime_ns
    code = (
        "import sys; from pathlib import Path; from vdt_hpc.commandline import load_partition, load_run;"
        "from vdt_hpc.experiment.stages import load;"
        f"config = load_run({str(made_up.paths.run_config)!r});"
        f"place = load_partition('local').model_copy(update={{'root': {str(made_up.root)!r}}});"
        "print(load('evaluate')(config, place).summary);"
        "heavy = {'torch', 'diffusers', 'lpips', 'skimage', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    home = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "already measured: 16 records" in done.stdout
    assert made_up.paths.records.stat().st_mtime_ns == stamp


def test_numbers_appear_when_their_weights_do(made_up, tiny_i3d):
    made_up.write_samples(made_up.samples[:, :1])
    made_up.evaluate()
    before = by_want(made_up)
    tiny_i3d()
    assert "put 4 of 16 records down; missing: AlexNet weights not found" in made_up.evaluate().summary
    after = by_want(made_up)
    assert after.keys() == before.keys()
    fvd = {subject: after[subject, "fvd"].value for subject in SUBJECTS}
    assert min(fvd.values()) >= 0
    assert fvd["model"] < fvd["autoencoder"]  # a little noise against random weights
    assert all(before[want] == after[want] for want in before if want[1] != "fvd")


def test_unconditional_samples_have_no_truth(made_up, tiny_i3d):
    tiny_i3d()
    made_up.write_samples(made_up.samples[:, :1], made_up.info("unconditional"))
    made_up.evaluate()
    records = by_want(made_up, "unconditional")
    for (subject, name), record in records.items():
        if name != "fvd":
            assert record.missing == "does not apply: an unconditional sample has no truth"
        elif subject == "copy-last-frame":
            assert record.missing.startswith("does not apply")
        else:
            assert record.value >= 0


def test_identical_clips_are_named_not_infinite(made_up):
    samples = made_up.samples[:, :1].copy()
    samples[2, 0, GIVEN:] = made_up.frames[2, GIVEN:]
    made_up.write_samples(samples)
    made_up.evaluate()
    record = by_want(made_up)["model", "psnr"]
    assert record.value is None
    assert record.missing == "infinite: 1 of 4 clips are identical with the truth"
    assert "already measured" in made_up.evaluate().summary


def test_too_few_clips_or_frames_are_reasons(made_up, tiny_i3d):
    tiny_i3d()
    made_up.write_samples(made_up.samples[:1, :1], made_up.info(num_clips=1))
    made_up.evaluate()
    records = by_want(made_up)
    assert records["model", "fvd"].missing == "FVD needs at least 2 clips; there are 1"
    assert (
        records["real-against-real", "fvd"].missing
        == "FVD needs two sets of real clips, each of at least 2; there are 0"
    )
    assert records["real-against-real", "ssim"].missing == "needs another real clip; there is only 1"
    assert records["model", "ssim"].interval_low is None
    made_up.write_samples(made_up.samples[:, :1, :9], made_up.info(num_frames=9, seed=4))
    made_up.evaluate()
    records = [r for r in read_records(made_up.paths.records) if r.num_frames == 9 and r.metric == "fvd"]
    assert {r.missing for r in records} == {"FVD needs clips of at least 10 frames; these have 9"}


def test_only_the_newest_checkpoint_is_measured_and_older_records_stay(made_up):
    old = made_up.write_samples(made_up.samples[:, :1], made_up.info(checkpoint="clips-000001600", clips_seen=1600))
    made_up.evaluate()
    new = made_up.write_samples(made_up.samples[:, 1:])
    assert "put 4 of 16 records down" in made_up.evaluate().summary
    assert {r.samples for r in read_records(made_up.paths.records)} == {None, old.name, new.name}


def test_samples_that_do_not_fit_are_refused(made_up):
    with pytest.raises(UserError, match="run the stage sample first"):
        made_up.evaluate()
    made_up.write_samples(made_up.samples[:, :1], made_up.info(run_signature="another"))
    with pytest.raises(UserError, match="run the stage sample first"):
        made_up.evaluate()
    made_up.write_samples(made_up.samples[:, :1], made_up.info(latents_fingerprint="another"))
    with pytest.raises(UserError, match="made from other latents"):
        made_up.evaluate()
    made_up.clip_id = lambda index: f"elsewhere_{index:06d}"
    made_up.write_samples(made_up.samples[:, :1])
    assert not made_up.paths.records.exists()
    with pytest.raises(UserError, match="is elsewhere_000000, the test split has town_000000"):
        made_up.evaluate()
    assert {r.subject for r in read_records(made_up.paths.records) if r.value is not None} == {*SUBJECTS} - {"model"}


CONDITIONAL = {
    "backward": (10, 11), "image_to_video": (0,), "interpolation": (0, 4, 8), "completion": (0, 11),
}  # fmt: skip


@pytest.mark.parametrize("task", CONDITIONAL)
def test_metrics_of_frames_are_over_those_that_are_not_given(made_up, tiny_i3d, task):
    tiny_i3d()
    info, given = made_up.info(task), list(CONDITIONAL[task])
    generated = np.delete(np.arange(12), given)
    assert info.given == CONDITIONAL[task]
    changed = made_up.samples[:, :1].copy()
    changed[:, :, given] = 255 - changed[:, :, given]
    made_up.write_samples(made_up.samples[:, :1], info)
    made_up.write_samples(changed, made_up.info(task, seed=1))
    made_up.evaluate(metrics=("psnr", "ssim", "fvd"))
    records = read_records(made_up.paths.records)
    by_seed = {(r.seed, r.metric): r.value for r in records if r.subject == "model"}
    expected = [
        psnr(Pixels(true[generated]), Pixels(made[generated]))
        for true, made in zip(made_up.frames, made_up.samples[:, 0], strict=True)
    ]
    assert by_seed[0, "psnr"] == pytest.approx(np.mean(expected), rel=1e-12)
    assert all(by_seed[0, name] == by_seed[1, name] for name in ("psnr", "ssim", "fvd"))
    assert all(r.given_frames == len(given) and r.given_indices == CONDITIONAL[task] for r in records)
    assert {(r.subject, r.metric) for r in records} == {(s, m) for s in SUBJECTS for m in ("psnr", "ssim", "fvd")}


@pytest.mark.parametrize(
    ("task", "sources"),
    [
        ("prediction", [0, 1] + 10 * [1]),
        ("backward", 11 * [10] + [11]),
        ("image_to_video", 12 * [0]),
        ("interpolation", 4 * [0] + 4 * [4] + 4 * [8]),
        ("completion", 11 * [0] + [11]),
    ],
)
def test_the_copy_repeats_the_nearest_given_frame_before(made_up, task, sources):
    from results.subjects import COPY, Beside
    from vdt_hpc.store.latents import LatentSet

    truth = LatentSet.open(made_up.config, made_up.paths).split("test")
    beside = Beside(made_up.info(task), truth, decode=None)
    (copied,) = beside.frames(COPY, 1)
    assert np.array_equal(copied, made_up.frames[1][sources])


def test_another_given_frame_is_another_measurement(made_up):
    for given in ((0,), (6,)):
        made_up.write_samples(made_up.samples[:, :1], made_up.info("image_to_video", given=given))
    made_up.evaluate(metrics=("psnr",))
    records = read_records(made_up.paths.records)
    copies = {r.given_indices: r.value for r in records if r.subject == "copy-last-frame"}
    assert set(copies) == {(0,), (6,)}
    assert copies[(0,)] != copies[(6,)]


def test_samples_longer_than_the_truth_are_shown_but_not_measured(made_up, tiny_i3d):
    tiny_i3d()
    longer = np.concatenate([made_up.samples[:, :1]] * 2, axis=2)
    made_up.write_samples(longer, made_up.info(num_frames=24, overlap_frames=2))
    made_up.evaluate()
    records = by_want(made_up)
    assert len(records) == 16
    assert {record.missing for record in records.values()} == {"the samples have 24 frames, the true clips 12"}
    made_up.report()
    assert "the true clips 12" in made_up.paths.page.read_text()
    assert len(list(made_up.paths.figures.glob("strip-prediction-*.png"))) == 1
