"""Film strips while training; the autoencoder is a stand-in that shows latents as grey pixels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from jobs import progress_log, strips
from tests.jobs import made_up
from vdt_hpc import pictures
from vdt_hpc.model import vdt
from vdt_hpc.store.latents import LatentSet
from vdt_hpc.store.strips import find

CPU = torch.device("cpu")
CHANGES = {"train__num_strips": 2, "train__strip_steps": 4}
ORANGE = np.array([int(pictures.ORANGE[start : start + 2], 16) for start in (1, 3, 5)])


def show(decoder, latents, frames_per_batch):
    """Latents (N, C, h, w) as grey frames (N, 8 h, 8 w, 3): one channel, each cell a square."""
    assert decoder.model.device == CPU
    levels = ((latents[:, :1] * 10 + 128).clamp(0, 255)).round().byte()
    return levels.expand(-1, 3, -1, -1).repeat_interleave(8, 2).repeat_interleave(8, 3).permute(0, 2, 3, 1).numpy()


class Model(SimpleNamespace):
    def to(self, device):
        self.device = torch.device(device)


@pytest.fixture
def stand_in(monkeypatch):
    """Puts an autoencoder where there is none; the list counts how often it is loaded."""
    loads = []

    def load(config, device, fetch):
        assert device == CPU and not fetch
        loads.append(device)
        return SimpleNamespace(model=Model())

    monkeypatch.setattr(strips.autoencoder, "weights_sha256", lambda config: "made-up")
    monkeypatch.setattr(strips.autoencoder, "load", load)
    monkeypatch.setattr(strips.autoencoder, "decode", show)
    return loads


class Bench:
    """Made-up latents and a place for pictures."""

    def __init__(self, folder):
        self.where, self.folder, self.num_steps = made_up.partition(folder), folder / "strips", 0

    def strips(self, stop=lambda: False, counts=None, **changes):
        run = made_up.config(**{**CHANGES, **changes})
        paths = made_up.paths_for(run, self.where)
        if not paths.latents.exists():
            made_up.write_latents(run, self.where, counts)
        return strips.Strips(run, LatentSet.open(run, paths), CPU, self.folder, stop)

    def weights(self, seed=0, dtype=torch.float32):
        model = vdt.build(made_up.config(), seed).to(dtype)
        with torch.no_grad():
            model.final_layer.linear.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(seed))

        def denoise(x, times, mask):
            assert x.dtype == dtype
            assert times.shape == (1,)
            self.num_steps += 1
            return model(x, times, mask)

        return denoise


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_strips_differ_by_the_weights_alone(bench, stand_in):
    drawer = bench.strips()
    first = pixels(drawer.draw(bench.weights(), 7))
    assert np.array_equal(first, pixels(bench.strips().draw(bench.weights(), 7)))
    assert len(stand_in) == 2
    later, other = (pixels(drawer.draw(bench.weights(seed), 30)) for seed in (0, 1))
    assert len(stand_in) == 2  # once for each drawer
    title = slice(0, 40)
    assert not np.array_equal(first[title], later[title])
    assert np.array_equal(first[40:], later[40:])
    assert np.array_equal(later[title], other[title])
    assert not np.array_equal(later[40:], other[40:])
    assert list(find(bench.folder)) == [7, 30]
    assert [path.name for path in find(bench.folder).values()] == ["clips-000000007.png", "clips-000000030.png"]


def cells(picture):
    """Every cell of a picture's rows and columns; four rows of five frames."""
    size, gap, between, head, label = 124, 7, 20, 40, 116
    tops = [head + row * (size + gap) + (row // 2) * between for row in range(4)]
    lefts = [label + column * (size + gap) for column in range(5)]
    return [[picture[top : top + size, left : left + size] for left in lefts] for top in tops]


def is_orange(cell):
    return bool((np.abs(cell - ORANGE).sum(-1) < 12).any())


@pytest.mark.parametrize(("prediction", "given"), [(0.8, 2), (0.0, 0)])
def test_given_frames_alone_have_an_orange_border(bench, stand_in, prediction, given):
    trained = ["prediction", "unconditional"] if prediction else ["unconditional"]
    drawer = bench.strips(tasks__prediction=prediction, tasks__unconditional=0.2, sample__tasks=trained)
    picture = pixels(drawer.draw(bench.weights(), 6))
    for row in cells(picture):
        assert [is_orange(cell) for cell in row] == [column < given for column in range(5)]
    truth, sample, _, other_sample = [[cell[20:-20, 20:-20] for cell in row] for row in cells(picture)]
    same = [np.array_equal(*pair) for pair in zip(truth, sample, strict=True)]
    assert same == [column < given for column in range(5)]
    assert not np.array_equal(sample[3], other_sample[3])


def test_fewer_clips_than_asked_for_and_none(bench, stand_in, tmp_path, capsys):
    bench.strips(train__num_strips=8).draw(bench.weights(), 6)
    assert bench.num_steps == 4 * made_up.COUNTS["val"]
    assert bench.strips(train__num_strips=0).draw(bench.weights(), 6) is None
    empty = Bench(tmp_path / "empty")
    assert empty.strips(counts={"train": 2, "val": 0}).draw(empty.weights(), 6) is None
    assert empty.num_steps == 0 and not empty.folder.exists()
    assert capsys.readouterr().out == ""


def test_a_stop_in_the_middle_leaves_nothing(bench, stand_in):
    drawer = bench.strips(stop=lambda: bench.num_steps >= 6)
    assert drawer.draw(bench.weights(), 6) is None
    assert bench.num_steps == 6 and not bench.folder.exists() and not stand_in


def test_a_strip_is_due_at_each_multiple_and_at_the_end_and_drawn_once(bench, stand_in):
    drawer = bench.strips(train__num_strips=1, train__strips_every_clips=20, train__total_clips=50)
    positions = [12, 24, 36, 48, 60]
    drawn = [bool(drawer.draw_if_due(bench.weights(), clips - 12, clips)) for clips in positions]
    assert drawn == [False, True, False, True, True]
    assert not any(drawer.draw_if_due(bench.weights(), clips - 12, clips) for clips in positions)
    strips.take_back(bench.folder, 47)
    assert drawer.draw_if_due(bench.weights(), 36, 48)


def test_double_precision_draws_too(bench, stand_in):
    assert bench.strips(train__precision="fp64").draw(bench.weights(dtype=torch.float64), 6)
    assert bench.strips(train__precision="bf16").draw(bench.weights(), 12)


@pytest.mark.parametrize(
    ("sha256", "changes", "said"),
    [
        (None, {}, "no autoencoder nowhere"),
        ("another", {}, "were not made by the weights in nowhere"),
        ("made-up", {"train__strip_steps": 1}, "train.strip_steps 1 would start at time 0"),
    ],
)
def test_what_stands_in_the_way_is_said_once(bench, monkeypatch, capsys, sha256, changes, said):
    if sha256:
        monkeypatch.setattr(strips.autoencoder, "weights_sha256", lambda config: sha256)
    drawer = bench.strips(**changes)
    assert [drawer.draw(bench.weights(), clips) for clips in (6, 12)] == [None, None]
    out = capsys.readouterr().out
    assert out.startswith("no film strips while training: ") and said in out and out.count("\n") == 1
    assert bench.num_steps == 0


@pytest.mark.parametrize("error", [ValueError("not finite"), RuntimeError("can't allocate memory: 9 GB")])
def test_a_picture_that_fails_ends_no_training(bench, stand_in, monkeypatch, capsys, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(strips.autoencoder, "decode", fail)
    assert bench.strips().draw(bench.weights(), 6000) is None
    assert capsys.readouterr().out == f"no film strip at clip 6,000: {error}\n"
    assert not bench.folder.exists()


def test_other_errors_are_not_hidden(bench, stand_in):
    def broken(x, times, mask):
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        bench.strips().draw(broken, 6)


def test_a_rollback_takes_strips_back(bench, stand_in, capsys):
    drawer = bench.strips(train__num_strips=1)
    for clips_seen in (6, 12, 18):
        drawer.draw(bench.weights(), clips_seen)
    strips.take_back(bench.folder, 12)
    assert list(find(bench.folder)) == [6, 12]
    assert "removing 1 film strip(s) beyond clip 12" in capsys.readouterr().out
    strips.take_back(bench.folder, 12)
    strips.take_back(bench.folder / "nowhere", 0)
    assert capsys.readouterr().out == ""


def test_tensorboard_shows_the_picture(bench, stand_in, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = bench.strips(train__num_strips=1).draw(bench.weights(), 6)
    with progress_log.ProgressLog(tmp_path / "progress.jsonl", tmp_path / "events", 0, lambda: None) as log:
        log.picture("strips", 6, path)
    (event,) = EventAccumulator(str(tmp_path / "events")).Reload().Images("strips")
    with Image.open(path) as picture:
        assert (event.step, event.width, event.height) == (6, *picture.size)
    assert (tmp_path / "progress.jsonl").read_text() == ""
