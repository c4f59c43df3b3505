"""Mask DINO's loss by hand: boxes, costs, classes, points, and how they add up."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from transformers.loss.loss_for_object_detection import generalized_box_iou

from medseg.errors import UsageError
from medseg.losses import mask_dino, mask_dino_criterion
from medseg.losses.mask_dino_boxes import box_distance, generalized_iou
from medseg.losses.mask_dino_criterion import (
    Pairs,
    Truth,
    class_loss,
    layer_loss,
    mask_losses,
    pair_costs,
)
from medseg.losses.matching import assigned
from medseg.queries import DenoisingQueries, MaskQueries, RefinedQueries

POINTS = 64


def sigmoid(number):
    return 1 / (1 + math.exp(-number))


def softplus(number):
    return math.log1p(math.exp(number))


# Boxes


@pytest.mark.parametrize(
    ("box", "other", "distance", "iou"),
    [
        pytest.param([0.5, 0.5, 0.4, 0.2], [0.5, 0.5, 0.4, 0.2], 0.0, 1.0, id="equal"),
        # Halves of one hull of 1 x 1: nothing shared, nothing uncovered.
        pytest.param([0.25, 0.5, 0.5, 1], [0.75, 0.5, 0.5, 1], 0.5, 0.0, id="side by side"),
        # 0.04 + 0.04 in a hull of 0.36.
        pytest.param([0.1, 0.1, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], 0.8, -0.28 / 0.36, id="apart"),
        # A quarter within the whole.
        pytest.param([0.25, 0.25, 0.5, 0.5], [0.5, 0.5, 1, 1], 1.5, 0.25, id="inside"),
        # 0.1 x 0.2 shared of 0.04 + 0.04, in a hull of 0.3 x 0.2.
        pytest.param([0.1, 0.1, 0.2, 0.2], [0.2, 0.1, 0.2, 0.2], 0.1, 1 / 3, id="half over"),
        pytest.param([0, 0, 0, 0], [0, 0, 0, 0], 0.0, 0.0, id="points"),
    ],
)
def test_boxes_by_hand(box, other, distance, iou):
    one, two = torch.tensor([box, other], dtype=torch.float64)
    assert box_distance(one, two).item() == pytest.approx(distance)
    assert generalized_iou(one, two).item() == pytest.approx(iou, abs=1e-4)
    assert generalized_iou(two, one).item() == pytest.approx(iou, abs=1e-4)


SHARES = st.floats(0.05, 0.95)


@given(*[st.lists(st.tuples(SHARES, SHARES, SHARES, SHARES), min_size=1, max_size=4)] * 2)
def test_generalized_iou_is_that_of_transformers(boxes, others):
    boxes, others = (torch.tensor(each, dtype=torch.float64) for each in (boxes, others))
    corners = [
        torch.cat((each[:, :2] - each[:, 2:] / 2, each[:, :2] + each[:, 2:] / 2), 1)
        for each in (boxes, others)
    ]
    expected = generalized_box_iou(*corners)
    assert torch.allclose(generalized_iou(boxes[:, None], others), expected, atol=1e-3)


# Two queries, two classes, one image of 4 x 4 px: class 0 owns all pixels, class 1 none.


def flat(numbers):
    """Return masks ``(1, Q, 4, 4)`` of one number each."""
    return torch.tensor(numbers)[None, :, None, None].expand(1, -1, 4, 4)


def truth_of(*present, boxes=((0.5, 0.5, 1.0, 1.0), (0.5, 0.5, 0.5, 0.5))):
    """Return a truth of as many classes, each all pixels or none."""
    there = torch.tensor([present])
    return Truth(flat([float(each) for each in present]) > 0, torch.tensor([boxes]), there)


def inside(monkeypatch):
    """Sample away from the borders, beyond which a mask fades to 0."""
    draw = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *a, **k: 0.25 + 0.5 * draw(*a, **k))


def test_what_pairs_cost(monkeypatch):
    inside(monkeypatch)
    classes = torch.tensor([[[1.0, -2.0], [0.0, 0.5]]])
    boxes = torch.tensor([[[0.5, 0.5, 1.0, 1.0], [0.25, 0.5, 0.5, 1.0]]])
    said = MaskQueries(classes, flat([2.0, -1.0]), boxes)
    costs = pair_costs(said, truth_of(True, True), points=POINTS)
    assert costs.shape == (1, 2, 2)

    def expected(number, mask, distance, iou):
        prob, share = sigmoid(number), sigmoid(mask)
        yes = 0.25 * (1 - prob) ** 2 * -math.log(prob)
        no = 0.75 * prob**2 * -math.log(1 - prob)
        dice = 1 - (2 * share * POINTS + 1) / (share * POINTS + POINTS + 1)
        return 4 * (yes - no) + 5 * softplus(-mask) + 5 * dice + 5 * distance - 2 * iou

    assert costs[0, 0, 0].item() == pytest.approx(expected(1.0, 2.0, 0.0, 1.0), abs=1e-4)
    assert costs[0, 1, 0].item() == pytest.approx(expected(0.0, -1.0, 0.75, 0.5), abs=1e-4)
    # 0.125 shared of 0.5 + 0.25, in a hull of 0.75 x 1.
    iou = 0.125 / 0.625 - 0.125 / 0.75
    assert costs[0, 1, 1].item() == pytest.approx(expected(0.5, -1.0, 0.75, iou), abs=1e-4)


def test_each_segment_gets_the_query_that_suits_it():
    # The second query is surer of both classes; but it alone can be what the first is not.
    classes = torch.tensor([[[2.0, -4.0], [3.0, 3.0]]])
    boxes = torch.tensor([[[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]]])
    said = MaskQueries(classes, flat([5.0, 5.0]), boxes)
    costs = pair_costs(said, truth_of(True, True), points=POINTS)
    assert assigned(costs[None], torch.tensor([[True, True]])).tolist() == [[[0, 1]]]
    alone = pair_costs(said, truth_of(True, True, boxes=[[0.5] * 4] * 2), points=POINTS)
    assert assigned(alone[None], torch.tensor([[True, False]])).tolist() == [[[1, -1]]]


# Classes


def test_focal_loss_by_hand():
    logits = torch.tensor([[[1.0, -2.0], [0.0, 0.5]]])
    pairs = Pairs(*torch.tensor([[0], [0], [1]]))  # the first query is of the second class
    wanted = [[0, 1], [0, 0]]
    expected = 0.0
    for row, truth in zip(logits[0].tolist(), wanted, strict=True):
        for number, there in zip(row, truth, strict=True):
            right = sigmoid(number if there else -number)
            expected += (0.25 if there else 0.75) * (1 - right) ** 2 * -math.log(right)
    assert class_loss(logits, pairs, 2, 3).item() == pytest.approx(expected / 3, abs=1e-6)


def test_cross_entropy_with_no_object_by_hand():
    logits = torch.tensor([[[1.0, -2.0, 0.5], [0.0, 0.5, 1.5]]])
    pairs = Pairs(*torch.tensor([[0], [0], [1]]))

    def minus_log(row, place):
        return math.log(sum(math.exp(number) for number in row)) - row[place]

    found, none = (
        minus_log(row, place) for row, place in zip(logits[0].tolist(), (1, 2), strict=True)
    )
    expected = (found + 0.1 * none) / 1.1
    assert class_loss(logits, pairs, 2, 1).item() == pytest.approx(expected, abs=1e-6)


# Masks


def test_points_tell_what_pixels_tell(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(mask_dino_criterion, "UNCERTAIN", 0.0)
    coarse = torch.randn(2, 1, 6, 8) * 3
    logits = functional.interpolate(coarse, (96, 128), mode="bilinear")[:, 0]
    masks = (functional.interpolate(coarse + 2, (96, 128), mode="bilinear")[:, 0] > 0).float()
    cross, dice = mask_losses(logits, masks, points=50_000)
    expected = functional.binary_cross_entropy_with_logits(logits, masks)
    probs = logits.sigmoid()
    shared, both = (probs * masks).sum((1, 2)), (probs + masks).sum((1, 2))
    assert cross.item() == pytest.approx(expected.item(), rel=0.03)
    assert dice.item() == pytest.approx((1 - 2 * shared / both).mean().item(), rel=0.03)


def test_points_lie_where_the_mask_is_least_certain():
    torch.manual_seed(1)
    logits = torch.full((1, 32, 32), 9.0)
    logits[..., 12:16] = 0.1  # an eighth of the picture, and wrong
    masks = (logits > 1).float()
    even = functional.binary_cross_entropy_with_logits(logits, masks)
    cross, _ = mask_losses(logits, masks, points=4_000)
    # Of 3 times as many points more than a quarter lies on the strip and the faded border.
    assert cross > 2.5 * even


# All together


def layer_of(numbers, *, classes=2, mask=4.0, seed=0):
    torch.manual_seed(seed)
    boxes = torch.rand(1, len(numbers), 4)
    logits = torch.tensor(numbers)[None, :, None] * torch.tensor([1.0, -1.0, 0.5])[:classes]
    return MaskQueries(logits, flat([mask, -mask][: len(numbers)]), boxes)


def test_a_layer_adds_up_with_its_weights(monkeypatch):
    inside(monkeypatch)
    said, truth = layer_of([1.0, 2.0]), truth_of(True, True)
    pairs = Pairs(*torch.tensor([[0, 0], [1, 0], [0, 1]]))  # each answers for the other's class
    (first, second), (all_, none) = said.boxes[0], truth.boxes[0]
    distance = box_distance(second, all_) + box_distance(first, none)
    uncovered = 2 - generalized_iou(second, all_) - generalized_iou(first, none)
    cross = softplus(4.0) + softplus(-4.0)
    dice = [1 - (2 * s * POINTS + 1) / (s * POINTS + POINTS + 1) for s in map(sigmoid, (4, -4))]
    expected = (
        4 * class_loss(said.class_logits, pairs, 2, 2).item()
        + (5 * distance.item() + 2 * uncovered.item()) / 2
        + (5 * cross + 5 * sum(dice)) / 2
    )
    found = layer_loss(said, pairs, truth, points=POINTS)
    assert found.item() == pytest.approx(expected, abs=1e-3)


def test_layers_tokens_and_noise_are_judged_alike(monkeypatch):
    inside(monkeypatch)
    loss = mask_dino(overlapping=True, points=POINTS)
    masks = torch.ones(1, 2, 16, 16, dtype=torch.uint8)
    one, two = layer_of([1.0, 2.0]), layer_of([-1.0, 0.5], seed=1)

    def value(*layers, **more):
        return loss(RefinedQueries(layers, **more), masks).item()

    assert value(one, two) == pytest.approx(value(one) + value(two), abs=1e-4)
    assert value(one, selected=two) == pytest.approx(value(one, two), abs=1e-4)
    # The noised queries know what they stand for, and need not be assigned.
    truth = Truth(masks > 0, torch.tensor([[[0.5, 0.5, 1, 1]] * 2]), torch.ones(1, 2) > 0)
    for classes in ([0, 1], [1, 0], [1, -1]):
        known = [place for place, number in enumerate(classes) if number >= 0]
        images = torch.zeros(len(known), dtype=torch.int64)
        pairs = Pairs(images, torch.tensor(known), torch.tensor([classes[k] for k in known]))
        noised = DenoisingQueries((two,), torch.tensor([classes]))
        expected = value(one) + layer_loss(two, pairs, truth, points=POINTS).item()
        assert value(one, denoising=noised) == pytest.approx(expected, abs=1e-4)


def perfect(masks, *, background):
    """Return queries that say what the masks show, in reversed order."""
    regions = masks.bool()
    if background:
        regions = torch.cat((~regions.any(1, keepdim=True), regions), 1)
    regions = regions.flip(1)
    count = regions.shape[1]
    small = functional.avg_pool2d(regions.float(), 4)
    classes = torch.eye(count).flip(0)[None] * 40 - 20
    rows = []
    for region in regions[0]:
        ys, xs = (region.any(side).nonzero().flatten().float() for side in (1, 0))
        size = [(xs[-1] - xs[0] + 1) / region.shape[1], (ys[-1] - ys[0] + 1) / region.shape[0]]
        centre = [(xs[-1] + xs[0] + 1) / 2, (ys[-1] + ys[0] + 1) / 2]
        rows.append([centre[0] / region.shape[1], centre[1] / region.shape[0], *size])
    return MaskQueries(classes, 60 * small - 30, torch.tensor([rows]))


@pytest.mark.parametrize(
    "background", [pytest.param(True, id="exclusive"), pytest.param(False, id="overlapping")]
)
def test_what_says_the_truth_costs_nearly_nothing(background):
    torch.manual_seed(2)
    masks = torch.zeros(1, 2, 64, 64, dtype=torch.uint8)
    masks[0, 0, 8:32, 4:20] = 1
    masks[0, 1, 40:60, 24:60] = 1
    loss = mask_dino(overlapping=not background, points=400)
    said = perfect(masks, background=background)
    right = loss(RefinedQueries((said,)), masks).item()
    assert right < 2.0  # where a mask changes between two pixels, and fades at the border
    swapped = said._replace(class_logits=said.class_logits.roll(1, dims=1))
    assert loss(RefinedQueries((swapped,)), masks).item() > right + 2
    turned = said._replace(boxes=said.boxes[..., [1, 0, 2, 3]])
    assert loss(RefinedQueries((turned,)), masks).item() > right + 0.1
    inverse = said._replace(mask_logits=-said.mask_logits)
    assert loss(RefinedQueries((inverse,)), masks).item() > right + 50


def test_what_was_added_to_the_image_is_background():
    torch.manual_seed(3)
    masks = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    masks[0, 0, 8:24, 4:20] = 1
    said = perfect(masks, background=True)
    cut = masks[..., :27, :21]
    loss = mask_dino(points=400)
    values = []
    for truth in (masks, cut):
        torch.manual_seed(4)
        values.append(loss(RefinedQueries((said,)), truth).item())
    assert values[0] == values[1]


def test_organs_are_painted_in_their_order():
    masks = torch.zeros(1, 2, 32, 32, dtype=torch.uint8)
    masks[0, :, 8:24, 8:24] = 1
    only = masks.clone()
    only[0, 1] = 0
    said = perfect(only[:, :1], background=True)
    said = said._replace(class_logits=functional.pad(said.class_logits, (0, 1), value=-20.0))
    values = {}
    for order in ((0, 1), (1, 0)):
        torch.manual_seed(5)
        loss = mask_dino(painting_order=order, points=400)
        values[order] = loss(RefinedQueries((said,)), masks).item()
    assert values[1, 0] + 10 < values[0, 1]


def test_nothing_there_teaches_only_classes():
    said = layer_of([1.0, 2.0])
    empty = torch.zeros(1, 2, 16, 16)
    found = mask_dino(overlapping=True, points=POINTS)(RefinedQueries((said,)), empty)
    none = Pairs(*torch.zeros(3, 0, dtype=torch.int64))
    expected = 4 * class_loss(said.class_logits, none, 2, 1)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def test_it_is_computed_in_float32_under_autocast():
    masks = torch.ones(1, 2, 16, 16)
    layer = layer_of([1.0, 2.0])
    low = MaskQueries(*(each.bfloat16() for each in layer))
    loss = mask_dino(overlapping=True, points=POINTS)
    torch.manual_seed(6)
    expected = loss(RefinedQueries((MaskQueries(*(each.float() for each in low)),)), masks)
    torch.manual_seed(6)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(RefinedQueries((low,)), masks)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize(
    ("overlapping", "no_object", "expected"),
    [
        pytest.param(True, False, r"3: 3 of segments\)", id="too few organs"),
        pytest.param(False, False, r"4: 4 of segments\)", id="no background"),
        pytest.param(True, True, r"4: 3 of segments, and no object\)", id="no class for nothing"),
    ],
)
def test_a_network_of_other_classes_is_refused(overlapping, no_object, expected):
    said = RefinedQueries((layer_of([1.0, 2.0]),), no_object=no_object)
    with pytest.raises(
        UsageError, match=rf"loss: the network gives 2 classes .expected {expected}"
    ):
        mask_dino(overlapping=overlapping)(said, torch.zeros(1, 3, 16, 16))


def test_no_object_is_told_from_a_class():
    # As many logits as classes and no object, or as exclusive classes with their background.
    said, masks = layer_of([1.0, 2.0], classes=3), torch.ones(1, 2, 16, 16)
    assert mask_dino(overlapping=True, points=9)(RefinedQueries((said,), no_object=True), masks)
    assert mask_dino(points=9)(RefinedQueries((said,)), masks)
    with pytest.raises(UsageError, match=r"expected 2: 2 of segments"):
        mask_dino(overlapping=True)(RefinedQueries((said,)), masks)


def test_a_network_without_boxes_is_refused():
    said = RefinedQueries((layer_of([1.0, 2.0])._replace(boxes=None),))
    with pytest.raises(UsageError, match=r"loss: the network gives no boxes \(expected boxes\)"):
        mask_dino(overlapping=True)(said, torch.ones(1, 2, 16, 16))
