"""Slice-wise scores: what empties do to a mean, worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from medseg.errors import GeometryError, Problem
from medseg.metrics.overlap import count_overlap
from medseg.metrics.slicewise import ALL, count_slices, slice_scores, summarise_slices

PAIRS = arrays(bool, (2, 2, 3, 4, 5))


def scored(pred, ref, *, organs=("gut",), scan_id="s"):
    return slice_scores(pred, ref, organs=organs, scan_id=scan_id)


def drawn():
    """One organ on five slices: half found, missed, made up, and empty on both sides twice."""
    pred, ref = np.zeros((2, 1, 2, 2, 5), bool)
    ref[0, :, :, 0] = True  # 4 pixels
    pred[0, 0, :, 0] = True  # 2 of them: Dice 4 / 6, IoU 2 / 4
    ref[0, 0, 0, 1] = True
    pred[0, 0, 0, 2] = True
    return pred, ref


def test_a_drawn_scan_has_the_means_worked_out_by_hand():
    (score,) = scored(*drawn())
    assert score == ("s", "gut", 5, 2, pytest.approx(4 / 6), pytest.approx(1 / 2))
    gut, everything = summarise_slices([score])
    assert (gut.organ, gut.n, gut.n_empty) == ("gut", 5, 2)
    assert gut.dice == pytest.approx(((2 + 4 / 6) / 5, 4 / 6 / 5, 4 / 6 / 3))
    assert gut.iou == pytest.approx((2.5 / 5, 0.5 / 5, 0.5 / 3))
    assert everything == gut._replace(organ=ALL)


def test_a_model_that_predicts_nothing_is_praised_for_it():
    ref = np.zeros((1, 4, 4, 100), bool)
    ref[0, 1:3, 1:3, 30:73] = True  # 57 slices show nothing
    (gut, _) = summarise_slices(scored(np.zeros_like(ref), ref))
    assert gut.dice.one == gut.iou.one == pytest.approx(0.57)
    assert gut.dice.zero == gut.dice.skipped == 0.0


def test_organs_are_kept_apart_and_pooled_by_slice():
    pred, ref = drawn()
    empty = np.zeros_like(pred[0, :, :, :1])
    whole = scored([pred[0], pred[0]], [ref[0], pred[0]], organs=("a", "b"))
    other = scored([empty], [empty], organs=("a",), scan_id="t")
    a, b, everything = summarise_slices([*whole, *other])
    assert [summary.organ for summary in (a, b, everything)] == ["a", "b", "all"]
    assert (a.n, a.n_empty, b.n, b.n_empty) == (6, 3, 5, 3)
    assert b.dice == pytest.approx((1.0, 2 / 5, 1.0))
    assert (everything.n, everything.n_empty) == (11, 6)
    assert everything.dice.one == pytest.approx((6 + 4 / 6 + 2) / 11)


def test_an_organ_that_no_slice_shows_is_perfect_worst_or_nothing():
    empty = np.zeros((1, 2, 2, 3), bool)
    (gut, _) = summarise_slices(scored(empty, empty))
    assert gut.dice == pytest.approx((1.0, 0.0, math.nan), nan_ok=True)


def test_a_scan_without_prediction_has_no_empty_slices():
    _, ref = drawn()
    assert scored(None, ref) == [("s", "gut", 5, 0, 0.0, 0.0)]


def test_no_scores_have_no_summaries():
    assert summarise_slices([]) == ()


def test_masks_of_two_shapes_are_refused():
    pred, ref = drawn()
    with pytest.raises(GeometryError, match="E-GRID") as caught:
        scored(pred[..., :4], ref)
    assert caught.value.problems == (Problem("E-GRID", "masks", "shape (2, 2, 4)", "(2, 2, 5)"),)


@given(PAIRS)
def test_a_slice_counts_as_a_mask_of_its_own(masks):
    pred, ref = masks
    counts = count_slices(pred, ref)
    for organ in range(2):
        for k in range(5):
            alone = count_overlap(pred[organ, :, :, k], ref[organ, :, :, k])
            found = counts.dice[organ, k], counts.iou[organ, k]
            assert found == pytest.approx((alone.dice, alone.iou), nan_ok=True)


@given(PAIRS)
def test_counting_empties_as_one_never_lowers_a_mean(masks):
    for summary in summarise_slices(scored(*masks, organs=("a", "b"))):
        for means in (summary.dice, summary.iou):
            assert means.zero <= means.one
            assert math.isnan(means.skipped) or means.zero <= means.skipped <= means.one + 1e-12
