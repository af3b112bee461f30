"""The figure of the training: panels, marks of restarts, and labels that never lie on each other."""

import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from results import figures
from results.progress_curve import Curve, Restart


def curve(num_restarts, names=("a100", "a40")):
    made = Curve(train=[(clips, 1 / clips) for clips in range(100, 10_001, 100)])
    for number in range(num_restarts):
        before, after = names[number % 2], names[(number + 1) % 2]
        made.restarts.append(Restart((number + 1) * 10_000 // (num_restarts + 1), before, after))
    return made


def test_there_is_a_panel_for_whatever_the_log_has():
    made = curve(0)
    assert len(figures.loss_curve(made).axes) == 1
    made.lr = [(clips, 1e-4) for clips, _ in made.train]
    assert [axes.get_ylabel() for axes in figures.loss_curve(made).axes] == ["loss", "learning\nrate"]
    made.clips_per_s = [(clips, 9.5) for clips, _ in made.train]
    panels = figures.loss_curve(made).axes
    assert [axes.get_ylabel() for axes in panels] == ["loss", "learning\nrate", "clips/s"]
    assert [axes.get_xlabel() for axes in panels] == ["", "", "clips seen"]


def test_a_restart_is_dotted_and_a_move_dashed_and_labelled():
    made = curve(0)
    made.restarts = [Restart(3000, "a100", "a100"), Restart(6000, "a100", "a40")]
    figure = figures.loss_curve(made)
    (axes,) = figure.axes
    marks = {line.get_label(): line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2}
    assert marks == {"restart": 3000, "another partition": 6000}
    assert [text.get_text() for text in axes.texts] == ["a100 → a40"]


@pytest.mark.parametrize("names", [("a100", "a40"), ("gpu-partition-of-the-institute", "a40")])
@pytest.mark.parametrize("num_restarts", [1, 12, 50])
def test_labels_never_overlap_and_stay_inside(num_restarts, names):
    figure = figures.loss_curve(curve(num_restarts, names))
    figure.set_dpi(160)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    assert boxes
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)
