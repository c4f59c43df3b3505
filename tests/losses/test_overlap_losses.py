import math
from functools import partial

import numpy as np
import pytest
import torch

from medseg.errors import UsageError
from medseg.labels import LabelSet, Organ
from medseg.losses import dice, dice_bce, dice_ce, exclusive_classes

LOG2, LOG3 = math.log(2), math.log(3)

# How many channels of the logits stand for no organ.
EACH = [
    pytest.param(dice_ce, 1, id="exclusive"),
    pytest.param(dice_bce, 0, id="overlapping"),
    pytest.param(partial(dice, label_mode="exclusive"), 1, id="Dice of exclusive"),
    pytest.param(partial(dice, over="slice", absent=True), 0, id="Dice of slices"),
]


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
    EACH,
)
def test_a_perfect_prediction_costs_nothing(loss, extra):
    masks = torch.zeros(2, 2, 4, 4, dtype=torch.uint8)
    masks[0, 0, :2], masks[1, 1, 2:] = 1, 1
    targets = masks if not extra else torch.cat([1 - masks.amax(1, keepdim=True), masks], 1)
    assert loss()(targets * 60.0 - 30.0, masks).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "extra"),
    EACH,
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
    EACH,
)
def test_gradients_are_right(loss, extra):
    logits = torch.randn(2, 2 + extra, 3, 3, dtype=torch.float64, requires_grad=True)
    masks = (torch.rand(2, 2, 3, 3) < 0.4).to(torch.uint8)
    torch.autograd.gradcheck(lambda x: loss()(x, masks), logits)


@pytest.mark.parametrize(
    ("loss", "extra"),
    EACH,
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


def batch(*, classes, seed=0, size=12):
    """Logits and masks of three organs in two slices; the last organ is absent from the second."""
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, classes, size, size, generator=draw)
    masks = (torch.rand(2, 3, size, size, generator=draw) < 0.3).to(torch.uint8)
    masks[1, 2] = 0
    return logits, masks


def numpy_dice(probs, masks, smooth):
    """1 - Dice of all the pixels together."""
    shared, sizes = (probs * masks).sum(), probs.sum() + masks.sum()
    return 1 - (2 * shared + smooth) / (sizes + smooth)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.double().numpy()))


def softmax(logits):
    powers = np.exp(logits.double().numpy())
    return powers / powers.sum(1, keepdims=True)


def test_half_bce_and_dice_is_that_of_unext():
    """BCEDiceLoss of the authors' code: Dice of each picture, smoothed, and half the entropy."""
    logits, masks = batch(classes=3)
    logits, masks = logits[:, 2:], masks[:, 2:]  # one organ, absent from the second picture
    probs, truth = sigmoid(logits), masks.numpy()
    entropy = -(truth * np.log(probs) + (1 - truth) * np.log(1 - probs)).mean()
    overlap = np.mean([numpy_dice(p, m, 1e-5) for p, m in zip(probs, truth, strict=True)])
    loss = dice_bce(bce_weight=0.5, over="slice", absent=True)(logits, masks)
    assert loss.item() == pytest.approx(0.5 * entropy + overlap, rel=1e-5)
    assert overlap > 0.5  # the picture without the organ costs 1 by itself


@pytest.mark.parametrize("empty", [pytest.param(False, id="organ"), pytest.param(True, id="none")])
def test_dice_smoothed_by_one_is_that_of_the_lgg_reference(empty):
    """DiceLoss of brain-segmentation-pytorch: the batch's pixels together, 1 added twice."""
    logits, masks = batch(classes=1)
    masks = masks[:, :1] * (not empty)
    expected = numpy_dice(sigmoid(logits), masks.numpy(), 1.0)
    assert dice(smooth=1, absent=True)(logits, masks).item() == pytest.approx(expected, rel=1e-5)


def test_dice_of_each_slice_counts_its_own_organs_alone():
    logits, masks = batch(classes=4)
    probs = softmax(logits)[:, 1:]
    truth = np.stack([exclusive_classes(masks).numpy() == organ for organ in (1, 2, 3)], 1)
    rows = [
        numpy_dice(probs[b, k], truth[b, k], 1e-5) if truth[b, k].any() else 0.0
        for b in range(2)
        for k in range(3)
    ]
    assert rows.count(0.0) == 1
    loss = dice(label_mode="exclusive", over="slice")(logits, masks)
    assert loss.item() == pytest.approx(np.mean(rows), rel=1e-5)


def test_dice_goes_by_the_painting_order():
    logits = torch.tensor([0.0, 20.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    masks = masks_of([1, 1], [1, 1])
    first = dice(label_mode="exclusive", painting_order=[1, 0])(logits, masks)
    assert first.item() == pytest.approx(0, abs=1e-4)
    assert dice(label_mode="exclusive")(logits, masks).item() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("classes", "build", "weighted"),
    [
        pytest.param(4, lambda **over: dice(label_mode="exclusive", **over), "ce", id="exclusive"),
        pytest.param(3, dice, "bce", id="overlapping"),
    ],
)
@pytest.mark.parametrize("over", [pytest.param(o, id=o) for o in ("batch", "slice")])
def test_cross_entropy_is_added_in_its_share(classes, build, weighted, over):
    logits, masks = batch(classes=classes)
    mixed = {"ce": dice_ce, "bce": dice_bce}[weighted]
    alone = build(over=over)(logits, masks)
    whole, part = (mixed(**{f"{weighted}_weight": w}, over=over)(logits, masks) for w in (1, 0.25))
    assert alone > 0
    torch.testing.assert_close(part - alone, (whole - alone) / 4)
    assert torch.equal(mixed(**{f"{weighted}_weight": 0}, over=over)(logits, masks), alone)


def test_dice_of_a_batch_without_organs_is_nothing():
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    masks = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    for over in ("batch", "slice"):
        loss = dice(over=over)(logits, masks)
        loss.backward()
        assert loss.item() == 0
        assert not logits.grad.any()


def test_absent_organs_that_count_are_pushed_away():
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    loss = dice(smooth=1, absent=True)(logits, torch.zeros(1, 1, 2, 2))
    loss.backward()
    assert loss.item() == pytest.approx(1 - 1 / 3)  # probabilities of 1/2 at 4 pixels: 1 / (2 + 1)
    assert (logits.grad > 0).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        pytest.param(lambda: dice(smooth=0), "smooth: is 0 .expected more than 0", id="no smooth"),
        pytest.param(lambda: dice_ce(ce_weight=-1), "loss: the weight .* is -1", id="negative"),
    ],
)
def test_values_that_make_no_loss_are_refused(build, message):
    with pytest.raises(UsageError, match=rf"E-CONFIG.*{message}"):
        build()
