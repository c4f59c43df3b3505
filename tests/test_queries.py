"""Boxes around masks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.queries import boxes_around


@pytest.mark.parametrize(
    ("rows", "box"),
    [
        pytest.param([[0, 0, 0, 0], [0, 1, 0, 0]], [1.5 / 4, 0.75, 0.25, 0.5], id="one pixel"),
        pytest.param([[1, 0, 0, 1], [0, 0, 0, 0]], [0.5, 0.25, 1.0, 0.5], id="two ends of a row"),
        pytest.param([[0, 0, 1, 0], [0, 1, 0, 0]], [0.5, 0.5, 0.5, 1.0], id="askew"),
        pytest.param([[1, 1, 1, 1], [1, 1, 1, 1]], [0.5, 0.5, 1.0, 1.0], id="everything"),
        pytest.param([[0, 0, 0, 0], [0, 0, 0, 0]], [0.0, 0.0, 0.0, 0.0], id="nothing"),
    ],
)
def test_boxes_by_hand(rows, box):
    assert boxes_around(torch.tensor(rows)).tolist() == box


@given(arrays(bool, (2, 5, 7), elements=st.booleans()))
def test_boxes_are_the_smallest_around(masks):
    for mask, box in zip(masks, boxes_around(torch.from_numpy(masks)), strict=True):
        if not mask.any():
            continue
        ys, xs = mask.nonzero()
        x, y, width, height = box.tolist()
        assert 7 * (x - width / 2) == pytest.approx(xs.min(), abs=1e-5)
        assert 7 * (x + width / 2) == pytest.approx(xs.max() + 1, abs=1e-5)
        assert 5 * (y - height / 2) == pytest.approx(ys.min(), abs=1e-5)
        assert 5 * (y + height / 2) == pytest.approx(ys.max() + 1, abs=1e-5)
