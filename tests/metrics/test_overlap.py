"""Overlap: numbers worked out by hand, two other implementations, and the laws."""

import math
import warnings

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.errors import GeometryError, Problem
from medseg.metrics.overlap import OverlapCounts, count_overlap

SHAPE = (3, 4, 5)
MASK = arrays(bool, SHAPE)

#   pred      ref       pred 6, ref 8, both 2
#   .XXX..    ......
#   .XXX..    ..XXXX    Dice 4 / 14, IoU 2 / 12
#   ......    ..XXXX
PRED = np.array([[0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]], bool)[..., None]
REF = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]], bool)[..., None]


def test_a_drawn_pair_has_the_numbers_worked_out_by_hand():
    counts = count_overlap(PRED, REF)
    assert counts == OverlapCounts(pred=6, ref=8, both=2)
    assert counts.dice == pytest.approx(4 / 14)
    assert counts.iou == pytest.approx(2 / 12)


@pytest.mark.parametrize(
    ("counts", "status", "dice", "iou"),
    [
        pytest.param((4, 4, 4), "ok", 1.0, 1.0, id="equal"),
        pytest.param((3, 5, 0), "ok", 0.0, 0.0, id="apart"),
        pytest.param((0, 5, 0), "missed", 0.0, 0.0, id="only in the reference"),
        pytest.param((5, 0, 0), "false_positive", 0.0, 0.0, id="only predicted"),
        pytest.param((0, 0, 0), "both_empty", math.nan, math.nan, id="in neither"),
    ],
)
def test_each_state_has_its_number(counts, status, dice, iou):
    found = OverlapCounts(*counts)
    assert found.status == status
    assert (found.dice, found.iou) == pytest.approx((dice, iou), nan_ok=True)


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(GeometryError, match="E-GRID") as caught:
        count_overlap(PRED, REF.transpose(1, 0, 2))
    assert caught.value.problems == (Problem("E-GRID", "masks", "shape (3, 6, 1)", "(6, 3, 1)"),)


def test_masks_may_be_of_numbers():
    assert count_overlap(2 * PRED.astype(np.uint8), REF.astype(np.uint8)) == (6, 8, 2)


# --- Laws -------------------------------------------------------------------------------------


@given(MASK, MASK)
def test_overlap_is_symmetric_bounded_and_dice_follows_from_iou(a, b):
    here, there = count_overlap(a, b), count_overlap(b, a)
    assert (here.dice, here.iou) == pytest.approx((there.dice, there.iou), nan_ok=True)
    if here.status != "both_empty":
        assert 0 <= here.iou <= here.dice <= 1
        assert here.dice == pytest.approx(2 * here.iou / (1 + here.iou))


@given(MASK, MASK)
def test_padding_flips_and_axis_order_do_not_matter(a, b):
    counts = count_overlap(a, b)
    assert count_overlap(np.pad(a, 2), np.pad(b, 2)) == counts
    assert count_overlap(a[::-1], b[::-1]) == counts
    assert count_overlap(a.transpose(2, 0, 1), b.transpose(2, 0, 1)) == counts


@given(MASK, MASK, st.data())
def test_a_lost_voxel_of_agreement_never_improves_dice_or_iou(pred, ref, data):
    common = np.argwhere(pred & ref)
    if len(common) == 0:
        return
    before = count_overlap(pred, ref)
    pred[tuple(data.draw(st.sampled_from(common.tolist())))] = False
    after = count_overlap(pred, ref)
    assert after.dice < before.dice
    assert after.iou < before.iou


@given(MASK, MASK)
def test_two_other_implementations_agree_where_both_masks_hold_something(a, b):
    a[0, 0, 0] = b[0, 0, 1] = True
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (b, a)))
    counts = count_overlap(a, b)
    assert counts.dice == pytest.approx(overlap.GetDiceCoefficient())
    assert counts.iou == pytest.approx(overlap.GetJaccardCoefficient())


@pytest.fixture(scope="module")
def compute_dice():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.metrics import compute_dice
    return compute_dice


def test_monai_agrees_where_both_masks_hold_something(compute_dice):
    import torch

    rng = np.random.default_rng(0)
    pred, ref = rng.random((2, 8, 3, *SHAPE)) < 0.4
    theirs = compute_dice(torch.from_numpy(pred), torch.from_numpy(ref)).numpy()
    ours = [
        [count_overlap(*pair).dice for pair in zip(*scan, strict=True)]
        for scan in zip(pred, ref, strict=True)
    ]
    assert np.allclose(ours, theirs, atol=1e-6)
