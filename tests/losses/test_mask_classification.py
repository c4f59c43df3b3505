import math

import pytest
import torch
from transformers.models.maskformer.modeling_maskformer import (
    MaskFormerHungarianMatcher,
    MaskFormerLoss,
)

from medseg.errors import UsageError
from medseg.losses import mask_classification
from medseg.losses.matching import class_masks
from medseg.queries import MaskQueries

LOG3 = math.log(3)


def two_queries(*, second_mask=LOG3, classes=2):
    """Return what two queries say of an image of 4 x 4 px: each mask is one pixel.

    All classes are equally probable; the masks have a probability of 1/2 and of 3/4.
    """
    masks = torch.tensor([0.0, second_mask])
    return MaskQueries(torch.zeros(1, 2, classes + 1), masks[None, :, None, None])


def organ_of(height, width):
    """Return the mask of one organ that fills the image."""
    return torch.ones(1, 1, height, width, dtype=torch.uint8)


def test_two_queries_by_hand():
    # The one segment, 16 pixels of organ, costs the first query
    # 20/4 * (1/2)^2 * log 2 + (1 - (2/2 + 1)/(1/2 + 1 + 1)) = 1.07, and the second
    # 20/4 * (1/4)^2 * log 4/3 + (1 - (6/4 + 1)/(3/4 + 1 + 1)) = 0.18. Classes cost both the same.
    focal = 20 / 4 * (1 / 4) ** 2 * math.log(4 / 3)
    dice = 1 - (2 * 12 + 1) / (12 + 16 + 1)
    # Organ and "no object" are both as probable as background.
    found = mask_classification()([two_queries()], organ_of(4, 4))
    assert found.item() == pytest.approx(LOG3 + focal + dice, abs=1e-6)


def test_the_class_decides_between_equal_masks():
    said = two_queries(second_mask=0.0)
    said.class_logits[0, 0, 1] = math.log(2)  # organ: 1/2, the others 1/4
    loss = mask_classification(mask_weight=0, dice_weight=0, no_object=0.5)
    # The first query is the organ's, and the second, without one, counts half.
    expected = (math.log(2) + 0.5 * LOG3) / 1.5
    assert loss([said], organ_of(4, 4)).item() == pytest.approx(expected, abs=1e-6)


def test_layers_are_matched_each_for_itself_and_added_up():
    swapped = MaskQueries(*(each.flip(1) for each in two_queries()[:2]))
    loss = mask_classification()
    one = loss([two_queries()], organ_of(4, 4))
    assert loss([two_queries(), swapped], organ_of(4, 4)).item() == pytest.approx(2 * one.item())


def test_only_pixels_of_the_image_count():
    # Masks of 2 x 2 cover 8 x 8 px; the image has 5 x 7. Both queries' masks are even.
    said = two_queries()
    said = said._replace(mask_logits=said.mask_logits.expand(-1, -1, 2, 2))
    focal = 20 / 4 * (1 / 4) ** 2 * math.log(4 / 3)
    dice = 1 - (2 * 35 * 0.75 + 1) / (35 * 0.75 + 35 + 1)
    found = mask_classification()([said], organ_of(5, 7))
    assert found.item() == pytest.approx(LOG3 + focal + dice, abs=1e-6)


def test_an_empty_slice_is_one_mask_the_background():
    empty = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    said = two_queries()
    assert mask_classification()([said], empty).item() == pytest.approx(
        mask_classification()([said], organ_of(4, 4)).item()
    )
    # Organs that may overlap have no background: every query is taught "no object".
    overlapping = mask_classification(overlapping=True)
    said = two_queries(classes=1)
    said.class_logits.requires_grad_()
    said.mask_logits.requires_grad_()
    found = overlapping([said], empty)
    assert found.item() == pytest.approx(math.log(2))
    of_classes, of_masks = torch.autograd.grad(found, said[:2])
    assert of_classes[..., -1].lt(0).all()
    assert not of_masks.any()


def proposed(layers, images, queries, classes, size_px):
    """Return random proposals, and random masks that may overlap."""
    return [
        MaskQueries(
            torch.randn(images, queries, classes + 1),
            3 * torch.randn(images, queries, *(size // 4 for size in size_px)),
        )
        for _ in range(layers)
    ]


@pytest.mark.parametrize("overlapping", [pytest.param(o, id=str(o)) for o in (False, True)])
@pytest.mark.parametrize("queries", [pytest.param(7, id="enough"), pytest.param(2, id="too few")])
def test_it_is_the_loss_of_transformers(overlapping, queries):
    """Theirs gives what the authors' does, and is fed here with layers that are right."""
    torch.manual_seed(1)
    organs, size_px = 3, (16, 24)
    classes = organs + (not overlapping)
    layers = proposed(3, 4, queries, classes, size_px)
    masks = (torch.rand(4, organs, *size_px) < 0.3).to(torch.uint8)
    masks[1], masks[2, 0] = 0, 0
    owned = class_masks(masks, overlapping=overlapping)
    there = [image.flatten(1).any(1) for image in owned]
    weights = {"loss_cross_entropy": 1.0, "loss_mask": 20.0, "loss_dice": 1.0}
    theirs = MaskFormerLoss(
        classes,
        MaskFormerHungarianMatcher(cost_class=1.0, cost_mask=20.0, cost_dice=1.0),
        weights,
        eos_coef=0.1,
    )
    expected = 0.0
    for layer in layers:
        # Theirs cannot pair an empty slice without background; it adds to the classes alone.
        found = theirs(
            layer.mask_logits,
            layer.class_logits,
            [image[which].float() for image, which in zip(owned, there, strict=True)],
            [which.nonzero()[:, 0] for which in there],
        )
        expected += sum(float(found[name]) * weight for name, weight in weights.items())
    ours = mask_classification(overlapping=overlapping)(layers, masks)
    assert ours.item() == pytest.approx(expected, rel=1e-5)


def test_the_painting_order_decides_whose_pixels_they_are():
    layers = proposed(1, 1, 4, 3, (8, 8))
    masks = torch.ones(1, 2, 8, 8, dtype=torch.uint8)
    last, first = (torch.zeros_like(masks) for _ in range(2))
    last[:, 1], first[:, 0] = 1, 1
    for order, whose in (((0, 1), last), ((1, 0), first)):
        found = mask_classification(painting_order=order)(layers, masks)
        assert found.item() == mask_classification()(layers, whose).item()


def test_gradients_are_right():
    torch.manual_seed(2)
    masks = (torch.rand(2, 2, 8, 8) < 0.4).to(torch.uint8)
    flat = [each.double().requires_grad_() for each in proposed(1, 2, 4, 3, (8, 8))[0][:2]]
    loss = mask_classification()
    torch.autograd.gradcheck(lambda *said: loss([MaskQueries(*said)], masks), flat)


@pytest.mark.parametrize("size", [pytest.param(1.0, id="usual"), pytest.param(1e4, id="huge")])
def test_half_precision_is_judged_in_single_precision(size):
    torch.manual_seed(3)
    masks = (torch.rand(2, 2, 16, 16) < 0.4).to(torch.uint8)
    said = MaskQueries(*(size * each.bfloat16() for each in proposed(1, 2, 5, 3, (16, 16))[0][:2]))
    said.mask_logits.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = mask_classification()([said], masks)
    assert found.dtype == torch.float32
    whole = MaskQueries(said.class_logits.float(), said.mask_logits.float())
    torch.testing.assert_close(found, mask_classification()([whole], masks))
    found.backward()
    assert said.mask_logits.grad.isfinite().all()


@pytest.mark.parametrize(
    "broken", [pytest.param(float("nan"), id="NaN"), pytest.param(math.inf, id="inf")]
)
@pytest.mark.parametrize("part", [pytest.param(0, id="class"), pytest.param(1, id="mask")])
def test_one_number_that_is_none_makes_the_loss_none(broken, part):
    said = two_queries()
    said[part].flatten()[0] = broken  # of the query that has no segment
    assert not mask_classification()([said], organ_of(4, 4)).isfinite()


def test_what_the_network_does_not_give_is_an_error():
    loss, masks = mask_classification(), organ_of(4, 4)
    with pytest.raises(UsageError, match=r"E-MODEL.*proposes no segments.*MaskQueries"):
        loss(torch.zeros(1, 2, 4, 4), masks)
    with pytest.raises(UsageError, match=r"has 3 classes .expected 2: one an organ"):
        loss([two_queries(classes=3)], masks)
    with pytest.raises(UsageError, match=r"has 2 classes .expected 1"):
        mask_classification(overlapping=True)([two_queries()], masks)
