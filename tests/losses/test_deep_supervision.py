"""The weights of several sizes, by hand."""

import pytest
import torch
from torch import nn

from medseg import losses


class Share(nn.Module):
    """The share of pixels where logits and masks differ."""

    def forward(self, logits, masks):
        assert logits.shape == masks.shape
        return ((logits > 0) != (masks > 0)).float().mean()


@pytest.fixture
def masks():
    """An organ in the left half of 8 x 8 pixels."""
    masks = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    masks[..., :4] = 1
    return masks


def right(size_px):
    logits = -torch.ones(2, 1, size_px, size_px)
    logits[..., : size_px // 2] = 1
    return logits


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        pytest.param((), 0, id="none"),
        pytest.param((0,), 4 / 7, id="the finest"),
        pytest.param((1,), 2 / 7, id="the middle one"),
        pytest.param((2,), 1 / 7, id="the coarsest"),
        pytest.param((0, 1, 2), 1, id="all"),
    ],
)
def test_each_size_counts_half_of_the_finer_one(masks, wrong, expected):
    logits = [right(8), right(4), right(2)]
    logits = [-each if level in wrong else each for level, each in enumerate(logits)]
    loss = losses.deep_supervision(loss=Share())
    assert loss(logits, masks).item() == pytest.approx(expected)


def test_one_size_is_the_loss_itself(masks):
    loss = losses.dice_bce()
    logits = torch.randn(2, 1, 8, 8)
    deep = losses.deep_supervision(loss=loss)
    assert deep(logits, masks).item() == pytest.approx(loss(logits, masks).item())
    assert deep([logits], masks).item() == pytest.approx(loss(logits, masks).item())


def test_sizes_that_do_not_divide_the_masks(masks):
    logits = [right(8)[..., :7, :7], torch.ones(2, 1, 4, 4)]
    # The nearest of 7 columns are 0, 2, 4 and 6, and the organ ends with column 3.
    found = losses.deep_supervision(loss=Share())(logits, masks[..., :7, :7])
    assert found.item() == pytest.approx(1 / 2 * 1 / 3)


def test_classes_that_exclude_each_other_learn_at_every_size(masks):
    logits = [torch.zeros(2, 2, size, size, requires_grad=True) for size in (8, 4)]
    losses.deep_supervision(loss=losses.dice_ce())(logits, masks).backward()
    assert all(each.grad.any() for each in logits)
