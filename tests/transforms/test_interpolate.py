"""Slices sampled between their rows and columns: numbers worked out by hand."""

import numpy as np

from medseg.transforms.interpolate import between, blended, closest, picked

SLICES = np.array([[[0, 10, 20], [100, 110, 120]], [[1, 1, 1], [3, 3, 3]]], np.float32)


def test_values_between_rows_and_columns():
    rows, columns = between(np.array([0.5]), 2), between(np.array([0.0, 0.25, 1.5, 2.0]), 3)
    assert blended(SLICES, rows, columns).tolist() == [[[50, 52.5, 65, 70]], [[2, 2, 2, 2]]]


def test_rows_from_last_to_first():
    rows, columns = between(np.array([1.0, 0.0]), 2), between(np.array([2.0]), 3)
    assert blended(SLICES, rows, columns).tolist() == [[[120], [20]], [[3], [1]]]


def test_an_axis_of_one_voxel_is_its_value_everywhere():
    one = np.full((1, 1, 1), 7, np.float32)
    assert blended(one, between(np.zeros(2), 1), between(np.zeros(3), 1)).tolist() == [
        [[7, 7, 7], [7, 7, 7]]
    ]


def test_rows_and_columns_may_repeat_and_turn_round():
    rows, columns = closest(np.array([1.0, 0.0, 0.4]), 2), closest(np.array([2.0, 1.6, 0.0]), 3)
    assert picked(SLICES.astype(np.uint8), rows, columns)[0].tolist() == [
        [120, 120, 100],
        [20, 20, 0],
        [20, 20, 0],
    ]


def test_positions_a_little_below_a_tie_go_up_with_it():
    assert closest(np.array([0.5 - 1e-9, 1.5 - 1e-3, 2.5]), 3).tolist() == [1, 1, 2]
