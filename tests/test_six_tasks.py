"""All six tasks from end to end: one tiny run trains, samples, measures and shows each of them.

The autoencoder is a stand-in that shows every latent cell as a square, so that pixels tell which cells were given.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests.jobs import made_up
from tests.model.given import given_frames
from vdt_hpc.experiment.stages import load
from vdt_hpc.experiment.tasks_config import TASKS
from vdt_hpc.files import read_json_lines
from vdt_hpc.model import autoencoder, masks
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.records import read_records
from vdt_hpc.store.samples import SampleSet

NUM_FRAMES, CELL_PX = 5, 8
GIVEN = {
    "prediction": (0, 1), "backward": (3, 4), "image_to_video": (2,), "interpolation": (0, 2, 4),
    "completion": (0, 4), "unconditional": (),
}  # fmt: skip
SUBJECTS = ("model", "copy-last-frame", "autoencoder", "real-against-real")


def show(decoder, latents, *settings, **more):
    """Latents (N, C, h, w) as frames (N, 8 h, 8 w, 3): one channel, each cell a square."""
    levels = ((latents[:, :1] * 10 + 128).clamp(0, 255)).round().byte()
    squares = levels.expand(-1, 3, -1, -1).repeat_interleave(CELL_PX, 2).repeat_interleave(CELL_PX, 3)
    return squares.permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The run and its paths, after train, sample, evaluate and report."""
    run = made_up.config(
        tasks={**dict.fromkeys(TASKS, 1.0), "prefix_max_frames": 3},
        train__num_strips=0,
        train__num_val_clips=12,
        sample__tasks=list(TASKS),
        sample__given_frame=2,
        sample__interpolation_every=2,
        evaluate={"metrics": ["psnr", "ssim", "fvd"]},
    )
    where = made_up.partition(tmp_path_factory.mktemp("six"))
    paths = made_up.write_latents(run, where, {"train": 7, "val": 12, "test": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDT_HPC_WEIGHTS", str(paths.root / "none"))
        stand_in = SimpleNamespace(sha256="made-up", source="nowhere")
        patch.setattr(autoencoder, "load", lambda *settings, **more: stand_in)
        patch.setattr(autoencoder, "decode", show)
        results = {stage: load(stage)(run, where) for stage in ("train", "sample", "evaluate", "report")}
    assert all(result.complete for result in results.values())
    return run, paths


def sample_sets(paths):
    return {found.info.task: found for found in SampleSet.find_all(paths.samples)[0]}


def test_every_task_is_trained_and_validated(done):
    _, paths = done
    lines, _ = read_json_lines(paths.progress_log)
    for kind, name in (("train", "loss_by_task"), ("validation", "val_loss_by_task")):
        seen = [line[name] for line in lines if line["kind"] == kind]
        assert {task for by_task in seen for task in by_task} == set(TASKS)
        assert all(math.isfinite(loss) for by_task in seen for loss in by_task.values())


def test_given_frames_and_cells_of_every_task_come_back(done):
    run, paths = done
    test, cells = LatentSet.open(run, paths).split("test"), (made_up.SIDE, made_up.SIDE)
    sets = sample_sets(paths)
    assert set(sets) == set(TASKS)
    for task, found in sets.items():
        assert found.info.given == GIVEN[task]
        for clip, (_, samples) in enumerate(found.clips()):
            mask = masks.for_sampling(task, run.sample, NUM_FRAMES, cells, clip)
            assert given_frames(mask) == GIVEN[task]
            truth = test.moments(clip)[0][:NUM_FRAMES, :1].astype(np.float32)
            truth = (truth * 10 + 128).clip(0, 255).round().astype(np.uint8)
            drawn = samples[0, :, ::CELL_PX, ::CELL_PX, 0][:, None]
            given = np.broadcast_to(mask.reshape(NUM_FRAMES, 1, *(mask.shape[2:] or (1, 1))) == 0, truth.shape)
            assert np.array_equal(drawn[given], truth[given]), (task, clip)
            assert np.mean(drawn[~given] == truth[~given]) < 0.2, (task, clip)


def test_every_task_has_a_record_of_everything(done):
    run, paths = done
    records = {(one.task, one.subject, one.metric): one for one in read_records(paths.records)}
    assert set(records) == {
        (task, who, metric) for task in TASKS for who in SUBJECTS for metric in run.evaluate.metrics
    }
    for (task, _, metric), record in records.items():
        assert record.given_frames == len(GIVEN[task])
        if metric == "fvd":  # five frames are too few for it
            assert record.value is None
        elif task == "unconditional":
            assert record.missing == "does not apply: an unconditional sample has no truth"
        else:
            assert record.value is not None or record.missing.startswith("infinite"), record


def test_the_page_shows_every_task(done):
    _, paths = done
    page = paths.page.read_text(encoding="utf-8")
    for title in ("Prediction", "Backward", "Image to video", "Interpolation", "completion", "Unconditional"):
        assert title in page
    assert len(list(paths.figures.glob("strip-*.png"))) == len(TASKS)
