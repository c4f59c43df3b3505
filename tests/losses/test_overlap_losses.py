import math

import pytest
import torch

from medseg.errors import UsageError
from medseg.labels import LabelSet, Organ
from medseg.losses import dice_bce, dice_ce, exclusive_classes

LOG2, LOG3 = math.log(2), math.log(3)


def masks_of(*rows):
    """One row of pixels an organ, for a batch of one image that is one pixel high."""
    return torch.tensor(rows, dtype=torch.uint8)[None, :, None]


def test_classes_are_painted_from_the_lowest_priority_to_the_highest():
    masks = masks_of([1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0])
    assert exclusive_classes(masks).tolist() == [[[1, 2, 3, 3, 0]]]
    assert exclusive_classes(masks, (2, 1, 0)).tolist() == [[[1, 1, 1, 2, 0]]]
    assert exclusive_classes(masks, (2, 0, 1)).tolist() == [[[1, 2, 2, 2, 0]]]
    assert exclusive_classes(masks).dtype == torch.int64


def test_classes_are_the_codes_of_the_label_map():
    organs = [Organ(name, code, (0, 0, 0), "", "") for code, name in enumerate("abc", 1)]
    labels = LabelSet(tuple(organs), priority=("b", "c", "a"))
    masks = torch.rand(3, 4, 5, 6) < 0.5
    expected = labels.label_map(list(masks.numpy()))
    classes = exclusive_classes(masks[None], labels.painting_order)
    assert (classes[0].numpy() == expected).all()


def test_no_organ_anywhere_is_background():
    assert not exclusive_classes(torch.zeros(2, 3, 4, 4, dtype=torch.uint8)).any()


@pytest.mark.parametrize(
    "order", [pytest.param((0, 1), id="one left out"), pytest.param((1, 1, 0), id="one twice")]
)
def test_a_painting_order_names_each_channel_once(order):
    with pytest.raises(UsageError, match=r"painting_order: is .* each of the channels 0 to 2 once"):
        exclusive_classes(torch.zeros(1, 3, 2, 2), order)


def test_dice_ce_by_hand():
    # Two organs and background, all equally likely (1/3) at each of 4 pixels; the organs are
    # painted on 2 pixels and 1.
    logits = torch.zeros(1, 3, 1, 4)
    masks = masks_of([1, 1, 0, 0], [0, 0, 1, 0])
    dice_1 = 2 * (2 / 3) / (4 / 3 + 2)  # 0.4
    dice_2 = 2 * (1 / 3) / (4 / 3 + 1)  # 2/7
    expected = ((1 - dice_1) + (1 - dice_2)) / 2 + LOG3
    assert dice_ce()(logits, masks).item() == pytest.approx(expected, abs=1e-5)


def test_dice_ce_goes_by_the_painting_order():
    # Both organs claim both pixels. The logits are sure of the first organ.
    logits = torch.tensor([0.0, 20.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    masks = masks_of([1, 1], [1, 1])
    assert dice_ce(painting_order=[1, 0])(logits, masks).item() == pytest.approx(0, abs=1e-4)
    # The second organ owns both pixels and is missed: (1 - 0) / 2 + 20. The first owns none.
    assert dice_ce(painting_order=[0, 1])(logits, masks).item() == pytest.approx(20.5, abs=1e-4)


def test_dice_bce_by_hand():
    # Probability 1/2 everywhere; organs of 2 pixels and of 3, one of them shared.
    logits = torch.zeros(1, 2, 1, 4)
    masks = masks_of([1, 1, 0, 0], [0, 1, 1, 1])
    dice_1 = 2 * 1 / (2 + 2)  # 0.5
    dice_2 = 2 * 1.5 / (2 + 3)  # 0.6
    expected = (0.5 + 0.4) / 2 + LOG2
    assert (dice_1, dice_2) == (0.5, 0.6)
    assert dice_bce()(logits, masks).item() == pytest.approx(expected, abs=1e-5)


def test_dice_is_taken_over_the_batch_not_per_slice():
    # Slice 1 shows 3 organ pixels, all found; slice 2 shows none, and one pixel is called organ.
    # Over the batch Dice is 2 * 3 / (4 + 3); per slice it would be the mean of 1 and 0.
    sure = 30.0
    logits = torch.tensor([[sure, sure, sure, -sure], [sure, -sure, -sure, -sure]])[:, None, None]
    masks = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]])[:, None, None]
    binary = 30 / 8
    expected = (1 - 6 / 7) + binary
    assert dice_bce()(logits, masks).item() == pytest.approx(expected, abs=1e-4)


def test_an_organ_absent_from_the_batch_adds_cross_entropy_alone():
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    masks = torch.zeros(2, 2, 8, 8, dtype=torch.uint8)
    loss = dice_ce()(logits, masks)
    background = torch.zeros(2, 8, 8, dtype=torch.int64)
    entropy = torch.nn.functional.cross_entropy(logits, background)
    assert loss.item() == pytest.approx(entropy.item(), abs=1e-6)
    torch.testing.assert_close(
        torch.autograd.grad(loss, logits), torch.autograd.grad(entropy, logits)
    )


@pytest.mark.parametrize(
    ("loss", "extra"),
    [pytest.param(dice_ce, 1, id="exclusive"), pytest.param(dice_bce, 0, id="overlapping")],
)
def test_a_perfect_prediction_costs_nothing(loss, extra):
    masks = torch.zeros(2, 2, 4, 4, dtype=torch.uint8)
    masks[0, 0, :2], masks[1, 1, 2:] = 1, 1
    targets = masks if not extra else torch.cat([1 - masks.amax(1, keepdim=True), masks], 1)
    assert loss()(targets * 60.0 - 30.0, masks).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "extra"),
    [pytest.param(dice_ce, 1, id="exclusive"), pytest.param(dice_bce, 0, id="overlapping")],
)
@pytest.mark.parametrize(
    "size", [pytest.param(0.0, id="flat"), pytest.param(1e4, id="huge logits")]
)
def test_gradients_are_finite(loss, extra, size):
    logits = (size * torch.randn(2, 3 + extra, 8, 8)).requires_grad_()
    masks = (torch.rand(2, 3, 8, 8) < 0.2).to(torch.uint8)
    masks[:, 2] = 0
    loss()(logits, masks).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("loss", "extra"),
    [pytest.param(dice_ce, 1, id="exclusive"), pytest.param(dice_bce, 0, id="overlapping")],
)
def test_gradients_are_right(loss, extra):
    logits = torch.randn(2, 2 + extra, 3, 3, dtype=torch.float64, requires_grad=True)
    masks = (torch.rand(2, 2, 3, 3) < 0.4).to(torch.uint8)
    torch.autograd.gradcheck(lambda x: loss()(x, masks), logits)


@pytest.mark.parametrize(
    ("loss", "extra"),
    [pytest.param(dice_ce, 1, id="exclusive"), pytest.param(dice_bce, 0, id="overlapping")],
)
def test_half_precision_logits_are_judged_in_single_precision(loss, extra):
    logits = torch.randn(2, 3 + extra, 64, 64).bfloat16()
    masks = (torch.rand(2, 3, 64, 64) < 0.2).to(torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss()(logits, masks)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss()(logits.float(), masks))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        pytest.param(dice_ce, "gives 2 channels .expected 4: background and one", id="exclusive"),
        pytest.param(dice_bce, "gives 2 channels .expected 3: one an organ", id="overlapping"),
    ],
)
def test_channels_that_do_not_fit_the_organs_are_an_error(loss, message):
    with pytest.raises(UsageError, match=message):
        loss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
