"""Scores batch by batch, by masks of a few pixels."""

import numpy as np
import pytest

from medseg.metrics.batchwise import BatchScore, batch_score, mean_of_batches
from medseg.metrics.slicewise import count_slices


def masks(*counts):
    """Return masks ``(1, 1, 8, slices)`` whose slices show their first so many pixels."""
    rows = [np.arange(8) < count for count in counts]
    return np.array(rows).T[None, None]


def test_the_pixels_of_a_batch_are_taken_together():
    # 4 of 8 and 1 of 1: slices would give (0.5 + 1) / 2, the batch gives 5 / 9.
    found = batch_score(count_slices(masks(4, 1), masks(8, 1)))
    assert found.iou == pytest.approx(5 / 9, abs=1e-5)
    assert found.dice == pytest.approx(2 * 5 / (5 + 9), abs=1e-5)


def test_a_batch_without_anything_counts_one():
    assert batch_score(count_slices(masks(0, 0), masks(0, 0))).iou == 1.0


def test_an_invented_pixel_counts_nearly_nothing():
    assert batch_score(count_slices(masks(1, 0), masks(0, 0))).iou == pytest.approx(0, abs=1e-4)


def test_the_mean_dice_is_less_than_the_dice_of_the_mean_iou():
    found = mean_of_batches([BatchScore(0.5), BatchScore(1.0)])
    assert found.iou == 0.75
    assert found.dice == pytest.approx((2 / 3 + 1) / 2)
    assert found.dice < 2 * 0.75 / 1.75
    assert found.n == 2
