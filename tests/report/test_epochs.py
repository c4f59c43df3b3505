"""Curves of a training, judged by their lines."""

import pytest

from medseg.labels import LabelSet, Organ
from medseg.report.epochs import curves
from medseg.report.figures import save

BLUE = (86, 180, 233)
LABELS = LabelSet(
    (Organ("large_bowel", 1, (230, 159, 0), "", ""), Organ("stomach", 2, BLUE, "", "")),
    ("stomach", "large_bowel"),
)


def test_curves_show_what_the_rows_have():
    rows = [
        {"epoch": 1, "train/loss": 0.9},
        {"epoch": 2, "train/loss": 0.5, "val/dice/stomach": 0.3, "val/dice/mean": 0.4},
    ]
    loss, dice = curves(rows, LABELS).axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 0.9], [2, 0.5]]
    assert [line.get_label() for line in dice.lines] == ["stomach", "mean"]
    assert dice.lines[0].get_color() == pytest.approx(tuple(c / 255 for c in BLUE))


@pytest.mark.parametrize(
    "rows", [pytest.param([], id="no epoch"), pytest.param([{"epoch": 1}], id="no numbers")]
)
def test_curves_of_nothing_are_empty(rows, tmp_path):
    figure = curves(rows)
    save(figure, tmp_path / "curves.png")
    assert not any(axes.lines for axes in figure.axes)


def test_organs_differ_by_their_marker_too():
    rows = [{"epoch": 1, "val/dice/stomach": 0.3, "val/dice/large_bowel": 0.4}]
    markers = [line.get_marker() for line in curves(rows, LABELS).axes[1].lines]
    assert len(set(markers)) == 2
