"""Which segments masks ask for, and which query answers for which."""

from itertools import permutations

import pytest
import torch

from medseg.losses.matching import assigned, class_masks, segments


def masks_of(*rows):
    """One row of pixels an organ, for a batch of one image that is one pixel high."""
    return torch.tensor(rows, dtype=torch.uint8)[None, :, None]


def test_exclusive_segments_own_every_pixel_once():
    masks = masks_of([1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0])
    ((classes, owned),) = segments(masks, painting_order=(1, 0, 2))
    assert classes.tolist() == [0, 1, 2]
    assert owned.int().tolist() == [[[0, 0, 0, 0, 1]], [[1, 1, 1, 0, 0]], [[0, 0, 0, 1, 0]]]


def test_overlapping_segments_are_the_organs_that_are_there():
    masks = masks_of([1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 0])
    ((classes, owned),) = segments(masks, overlapping=True)
    assert classes.tolist() == [0, 2]
    assert torch.equal(owned, masks[0, [0, 2]].bool())


@pytest.mark.parametrize(
    ("overlapping", "classes"),
    [pytest.param(False, [0], id="background"), pytest.param(True, [], id="nothing")],
)
def test_what_an_empty_slice_asks_for(overlapping, classes):
    empty = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    empty[1, 1, 2, 2] = 1
    first, second = segments(empty, overlapping=overlapping)
    assert first.classes.tolist() == classes
    assert first.masks.shape == (len(classes), 4, 5)
    assert first.masks.all()
    assert second.classes.tolist()[-1] == (1 if overlapping else 2)


def test_a_background_that_owns_no_pixel_is_no_segment():
    ((classes, _),) = segments(masks_of([1, 1, 1], [0, 0, 1]))
    assert classes.tolist() == [1, 2]


def test_class_masks_are_one_a_class():
    masks = masks_of([1, 0, 0], [1, 1, 0])
    assert class_masks(masks).int().tolist() == [[[[0, 0, 1]], [[0, 0, 0]], [[1, 1, 0]]]]
    assert torch.equal(class_masks(masks, overlapping=True), masks.bool())


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
