"""Probabilities against what is there, counted by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import GeometryError, Problem
from medseg.metrics.calibration import BINS, FLOOR, Calibration, count_by_probability


def volume(values, dtype):
    return np.array(values, dtype).reshape(1, 1, -1)


def counted(probs, ref):
    return count_by_probability(volume(probs, np.float32), volume(ref, bool))


def test_voxels_are_counted_in_the_bin_of_their_probability():
    found = counted([0.22, 0.24, 0.97, 1.0, 0.0, 0.004], [True, False, True, True, False, True])
    assert [n for n in found.n if n] == [2, 2]
    assert (found.n[4], found.n[19]) == (2, 2)
    assert (found.n_ref[4], found.n_ref[19]) == (1, 2)
    assert found.sum_p[4] == pytest.approx(0.46)
    assert found.sum_p[19] == pytest.approx(1.97)
    assert (found.n_below, found.n_ref_below) == (2, 1)


def test_the_error_is_the_mean_distance_of_the_bins_by_their_voxels():
    found = counted([0.22, 0.24, 0.97, 1.0], [True, False, True, True])
    # Two voxels at 0.23 of which a half is organ, two at 0.985 of which all are.
    assert found.expected_error == pytest.approx((2 * 0.27 + 2 * 0.015) / 4)
    assert found.points == [pytest.approx((0.23, 0.5, 2)), pytest.approx((0.985, 1.0, 2))]


def test_what_is_surely_missed_is_a_share_of_the_reference():
    found = counted([0.9, 0.001, 0.001, 0.001], [True, True, True, False])
    assert found.surely_missed == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("p", "bin_index"),
    [
        pytest.param(0.0049, None, id="below the floor"),
        pytest.param(FLOOR, 0, id="on the floor"),
        pytest.param(0.05, 1, id="an edge belongs to the upper bin"),
        pytest.param(1.0, BINS - 1, id="one belongs to the last"),
    ],
)
def test_edges(p, bin_index):
    found = count_by_probability(volume([p], np.float64), volume([True], bool))
    assert [i for i, n in enumerate(found.n) if n] == ([] if bin_index is None else [bin_index])
    assert found.n_ref_below == (bin_index is None)


def test_nothing_counted_has_no_error():
    assert math.isnan(Calibration().expected_error)
    assert math.isnan(Calibration().surely_missed)
    assert Calibration().points == []


def test_a_network_that_is_right_about_itself_has_no_error():
    rng = np.random.default_rng(0)
    probs = rng.uniform(size=(40, 50, 60)).astype(np.float32)
    found = count_by_probability(probs, rng.uniform(size=probs.shape) < probs)
    assert found.expected_error < 0.01
    assert count_by_probability(probs, np.zeros(probs.shape, bool)).expected_error > 0.45


def test_the_order_in_memory_changes_nothing():
    rng = np.random.default_rng(1)
    probs = rng.uniform(size=(3, 4, 5)).astype(np.float32)
    ref = rng.uniform(size=probs.shape) < 0.3
    turned = np.asfortranarray(probs)
    assert turned.strides != probs.strides
    first, second = (count_by_probability(p, ref) for p in (probs, turned))
    assert first[:2] + first[3:] == second[:2] + second[3:]
    assert first.sum_p == pytest.approx(second.sum_p)


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=2, max_size=30))
def test_parts_add_up_to_the_whole(voxels):
    probs, ref = zip(*voxels, strict=True)
    half = len(voxels) // 2
    parts = counted(probs[:half], ref[:half]).plus(counted(probs[half:], ref[half:]))
    whole = counted(probs, ref)
    assert parts[:2] + parts[3:] == whole[:2] + whole[3:]
    assert parts.sum_p == pytest.approx(whole.sum_p, abs=1e-6)
    assert sum(whole.n) + whole.n_below == len(voxels)


def test_masks_of_another_shape_are_refused():
    with pytest.raises(GeometryError, match="E-GRID") as caught:
        count_by_probability(volume([0.5], np.float32), volume([True, False], bool))
    assert caught.value.problems == (Problem("E-GRID", "masks", "shape (1, 1, 1)", "(1, 1, 2)"),)


def test_masks_may_be_of_numbers():
    probs = volume([0.5, 0.1, 0.001], np.float32)
    of_numbers = count_by_probability(probs, volume([2, 0, 1], np.uint8))
    assert of_numbers == count_by_probability(probs, volume([True, False, True], bool))
