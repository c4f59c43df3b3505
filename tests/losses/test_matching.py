"""Which segments masks ask for, and which query answers for which."""

from itertools import permutations

import pytest
import torch

from medseg.losses.matching import assigned, class_masks


def masks_of(*rows):
    """One row of pixels an organ, for a batch of one image that is one pixel high."""
    return torch.tensor(rows, dtype=torch.uint8)[None, :, None]


def test_exclusive_classes_own_every_pixel_once():
    masks = masks_of([1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0])
    owned = class_masks(masks, painting_order=(1, 0, 2))
    rows = [[0, 0, 0, 0, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    assert owned[0, :, 0].int().tolist() == rows


def test_overlapping_classes_are_the_organs():
    masks = masks_of([1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 0])
    assert torch.equal(class_masks(masks, overlapping=True), masks.bool())


@pytest.mark.parametrize(
    ("overlapping", "classes"),
    [pytest.param(False, [0], id="background"), pytest.param(True, [], id="nothing")],
)
def test_what_an_empty_slice_asks_for(overlapping, classes):
    owned = class_masks(torch.zeros(1, 3, 4, 5, dtype=torch.uint8), overlapping=overlapping)
    assert owned[0].flatten(1).any(1).nonzero().flatten().tolist() == classes
    assert owned[0, classes].all()


def cheapest(costs, classes):
    """Return the least sum over all ways of giving each class a query of its own."""
    ways = permutations(range(len(costs)), len(classes))
    return min(sum(float(costs[q, k]) for q, k in zip(way, classes, strict=True)) for way in ways)


def test_the_assignment_costs_least_of_all():
    torch.manual_seed(0)
    costs = torch.randn(3, 4, 5, 4)
    present = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    found = assigned(costs, present)
    assert found.shape == (3, 4, 4)
    for layer in range(3):
        for image in range(4):
            queries, classes = found[layer, image], present[image].nonzero()[:, 0].tolist()
            assert (queries >= 0).tolist() == present[image].tolist()
            given = queries[classes].tolist()
            assert len(set(given)) == len(given)
            matrix = costs[layer, image]
            cost = sum(float(matrix[q, k]) for q, k in zip(given, classes, strict=True))
            assert cost == pytest.approx(cheapest(matrix, classes), abs=1e-6)


def test_of_more_segments_than_queries_the_dearest_get_none():
    costs = torch.tensor([[5.0, 1.0, 9.0], [2.0, 3.0, 9.0]])[None, None]
    assert assigned(costs, torch.ones(1, 3).bool()).tolist() == [[[1, 0, -1]]]


def test_costs_that_are_no_numbers_are_assigned_last():
    nan, inf = float("nan"), float("inf")
    costs = torch.tensor([[nan, 1.0], [inf, 2.0], [-3.0, 3.0], [-inf, 9.0]])[None, None]
    assert assigned(costs, torch.ones(1, 2).bool()).tolist() == [[[2, 0]]]
    everywhere = torch.full((1, 1, 2, 2), nan)
    assert sorted(assigned(everywhere, torch.ones(1, 2).bool())[0, 0].tolist()) == [0, 1]
