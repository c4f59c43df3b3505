"""Where voxels lie, worked out by hand: grids of four by six by two voxels, and what is no grid."""

import math

import numpy as np
import pytest

from medseg.errors import GeometryError, Problem
from medseg.geometry import (
    AxisMap,
    Grid,
    axis_maps,
    corner_shift_mm,
    lpi_grid,
    require_same_grid,
)

SHAPE = (4, 6, 2)
# Columns to the left, rows to the back, slices to the feet; the first voxel is at (10, 20, 30) mm.
AFFINE = np.array([[-1.5, 0, 0, 10], [0, -2, 0, 20], [0, 0, -3, 30], [0, 0, 0, 1.0]])
GRID = Grid(SHAPE, AFFINE)


def moved(shift_mm, shape=SHAPE):
    """The grid, pushed."""
    affine = AFFINE.copy()
    affine[:3, 3] += shift_mm
    return Grid(shape, affine)


def the_problem(caught):
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    "affine",
    [
        pytest.param(np.eye(3), id="three by three"),
        pytest.param(np.diag([1, math.nan, 1, 1]), id="no number"),
        pytest.param(np.diag([1, 1, 1, math.inf]), id="infinite"),
    ],
)
def test_what_is_no_affine_is_refused(affine):
    with pytest.raises(GeometryError, match="4 x 4 finite numbers") as caught:
        Grid(SHAPE, affine)
    told = f"affine is {affine.astype(float).tolist()}"
    assert the_problem(caught) == Problem("E-AFFINE", "grid", told, "4 x 4 finite numbers")


@pytest.mark.parametrize(
    "edges",
    [
        pytest.param((1, 1, 0), id="flat"),
        pytest.param((9e-4, 9e-4, 9.9e-4), id="a billionth of a cubic millimetre"),
    ],
)
def test_axes_that_hold_no_volume_are_refused(edges):
    with pytest.raises(GeometryError, match="affine is singular") as caught:
        Grid(SHAPE, np.diag([*edges, 1.0]))
    expected = Problem("E-AFFINE", "grid", "affine is singular", "three independent axes")
    assert the_problem(caught) == expected


def test_voxels_of_a_micrometre_more_are_a_grid_and_so_are_mirrored_ones():
    assert Grid(SHAPE, np.diag([1e-3, 1e-3, 1e-3, 1.0])).spacing_mm == (1e-3, 1e-3, 1e-3)
    assert Grid(SHAPE, np.diag([-1.0, 1, 1, 1])).axis_codes == ("L", "A", "S")


def test_a_grid_keeps_its_own_affine_which_nobody_can_change():
    given = AFFINE.copy()
    grid = Grid(SHAPE, given)
    given[0, 0] = 99
    assert grid.affine_ras_mm[0, 0] == -1.5
    with pytest.raises(ValueError, match="read-only"):
        grid.affine_ras_mm[0, 0] = 99
    assert Grid(SHAPE, AFFINE.astype(int)).affine_ras_mm.dtype == np.float64


def test_a_shape_is_of_whole_numbers():
    grid = Grid(np.array(SHAPE), AFFINE)
    assert grid.shape == SHAPE
    assert {type(n) for n in grid.shape} == {int}


def test_a_grid_tells_its_size_spacing_orientation_and_place():
    told = "4 x 6 x 2 voxels of 1.5 x 2 x 3 mm, LPI from (10, 20, 30) mm"
    assert str(GRID) == told
    fine = Grid(SHAPE, np.diag([1.23456789, 1, 1, 1.0]))
    assert str(fine) == "4 x 6 x 2 voxels of 1.23457 x 1 x 1 mm, RAS from (0, 0, 0) mm"
    odd = moved((0.1234567, 0, -30))
    assert str(odd).endswith("LPI from (10.1235, 20, 0) mm")


def test_spacing_is_the_length_of_each_axis_and_codes_are_where_it_points():
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 2], [3, 0, 4], [0, -7, 0]])
    grid = Grid(SHAPE, affine)
    assert grid.spacing_mm == (3, 7, pytest.approx(math.sqrt(20)))
    # The last axis points to the front more than to the right, but the first one does wholly.
    assert grid.axis_codes == ("A", "I", "R")


def test_positions_are_the_affine_times_the_index():
    assert GRID.to_ras_mm((0, 0, 0)).tolist() == [10, 20, 30]
    assert GRID.to_ras_mm([[1, 2, 1], [3, 5, 0]]).tolist() == [[8.5, 16, 27], [5.5, 10, 30]]
    turned = Grid(SHAPE, np.array([[0, 2, 0, 1], [3, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    assert turned.to_ras_mm((1, 2, 5)).tolist() == [5, 3, 5]


def test_turned_axes_start_at_the_other_end_of_the_same_voxels():
    grid = GRID.reoriented(("S", "L", "A"))
    assert grid.shape == (2, 4, 6)
    assert grid.axis_codes == ("S", "L", "A")
    # The first voxel is the old (0, 5, 1).
    assert grid.to_ras_mm((0, 0, 0)).tolist() == [10, 10, 27]
    assert grid.to_ras_mm((1, 1, 1)).tolist() == [8.5, 12, 30]
    assert np.array_equal(GRID.reoriented(("L", "P", "I")).affine_ras_mm, AFFINE)


def test_axes_that_grow_to_the_right_are_turned_as_well():
    grid = Grid(SHAPE, np.diag([1.5, 2.0, 3.0, 1.0])).reoriented(("L", "A", "I"))
    # The first voxel is the old (3, 0, 1).
    assert grid.affine_ras_mm[:3, 3].tolist() == [4.5, 0, 3]
    assert np.diag(grid.affine_ras_mm).tolist() == [-1.5, 2, -3, 1]
    same = Grid(SHAPE, np.diag([1.5, 2.0, 3.0, 1.0])).reoriented(("R", "A", "S"))
    assert np.array_equal(same.affine_ras_mm, np.diag([1.5, 2.0, 3.0, 1.0]))


def test_where_axes_point_does_not_depend_on_their_spacing():
    # Both lean to the right, the second more to the front, though it is ten times as long.
    first, second = (0.98, 0.17, 0), (8.7, 5.0, 0)
    affine = np.eye(4)
    affine[:3, :3] = np.array([first, second, (0, 0, 1)]).T
    assert Grid(SHAPE, affine).axis_codes == ("R", "A", "S")


def test_of_equally_close_axes_the_same_is_taken_in_any_order():
    half = math.sqrt(0.5)
    one, other, up = (half, half, 0), (half, -half, 0), (0, 0, 1)
    found = []
    for axes in ((one, other, up), (other, one, up), (up, other, one)):
        affine = np.eye(4)
        affine[:3, :3] = np.array(axes).T
        found.append(dict(zip(axes, Grid(SHAPE, affine).axis_codes, strict=True)))
    assert found[0] == found[1] == found[2]


def test_another_spacing_keeps_the_outer_face_of_the_first_voxel():
    grid = GRID.resampled((3.0, 1.0, 3.00005))
    assert grid.shape == (2, 12, 2)
    assert grid.spacing_mm == pytest.approx((3, 1, 3))
    # Faces were at 10.75 and 21; the slices stay to the last digit.
    assert grid.affine_ras_mm[:3, 3] == pytest.approx([9.25, 20.5, 30])
    assert grid.affine_ras_mm[2].tolist() == AFFINE[2].tolist()


@pytest.mark.parametrize(
    ("spacing_mm", "shape"),
    [
        pytest.param((1.5, 2.0, 3.0), (4, 6, 2), id="as it is"),
        pytest.param((4.5, 5.0, 3.0), (1, 2, 2), id="rounded to whole voxels"),
        pytest.param((50.0, 2.0, 3.0), (1, 6, 2), id="one voxel at least"),
        pytest.param((1.5, 2.0, 2.9999), (4, 6, 2), id="a tenth of a micrometre apart"),
    ],
)
def test_the_far_side_is_rounded(spacing_mm, shape):
    assert GRID.resampled(spacing_mm).shape == shape


def test_a_spacing_a_tenth_of_a_micrometre_apart_is_another():
    assert GRID.resampled((1.5, 2.0, 2.9998)).spacing_mm[2] == pytest.approx(2.9998, abs=1e-9)
    assert GRID.resampled((1.5, 2.0, 2.99995)).spacing_mm[2] == 3


def test_a_box_begins_at_its_voxel():
    box = GRID.boxed((1, -2, 1), (3, 9, 1))
    assert box.shape == (3, 9, 1)
    assert box.to_ras_mm((0, 0, 0)).tolist() == [8.5, 24, 27]
    assert np.array_equal(box.affine_ras_mm[:3, :3], AFFINE[:3, :3])


def test_slices_are_stacked_head_to_feet_from_the_origin():
    expected = np.diag([-1.5, -2.0, -3.0, 1.0])
    assert np.array_equal(lpi_grid(SHAPE, (1.5, 2.0, 3.0)).affine_ras_mm, expected)


def test_of_equal_corners_the_farthest_counts():
    wider = AFFINE.copy()
    wider[0, 0] = -2.5  # the last of four columns is three millimetres off
    assert corner_shift_mm(GRID, Grid(SHAPE, wider)) == pytest.approx(3)
    thicker = wider.copy()
    thicker[2, 2] = -7.0  # and the last of two slices four
    assert corner_shift_mm(GRID, Grid(SHAPE, thicker)) == pytest.approx(5)
    assert corner_shift_mm(moved((3, 0, 4)), GRID) == pytest.approx(5)
    assert corner_shift_mm(GRID, GRID) == 0
    wider[0, 3] += 3  # so that the last columns meet, and the first do not
    assert corner_shift_mm(GRID, Grid(SHAPE, wider)) == pytest.approx(3)
    assert corner_shift_mm(Grid((1, 1, 1), AFFINE), Grid((1, 1, 1), wider)) == pytest.approx(3)


def test_grids_a_micrometre_apart_are_the_same():
    require_same_grid(GRID, moved((0, 0, 9.9e-4)), subject="case1")
    require_same_grid(GRID, moved((0.5, 0, 0)), subject="case1", tolerance_mm=0.5)


def test_a_grid_that_lies_elsewhere_is_refused_with_its_distance():
    with pytest.raises(GeometryError, match=r"lies 0\.501 mm off its reference") as caught:
        require_same_grid(GRID, moved((0.501, 0, 0)), subject="case1", tolerance_mm=0.5)
    assert the_problem(caught) == Problem(
        "E-GRID",
        "case1",
        "lies 0.501 mm off its reference: 4 x 6 x 2 voxels of 1.5 x 2 x 3 mm, "
        "LPI from (10.501, 20, 30) mm",
        "4 x 6 x 2 voxels of 1.5 x 2 x 3 mm, LPI from (10, 20, 30) mm, to 0.5 mm",
        "was it drawn on another series? Resample it onto the reference first",
    )
    with pytest.raises(GeometryError, match=r"lies 0\.002 mm off .* to 0\.001 mm"):
        require_same_grid(GRID, moved((0, 0.002, 0)), subject="case1")


def test_a_grid_of_another_shape_is_refused_wherever_it_lies():
    with pytest.raises(GeometryError, match="case1: has 4 x 6 x 3 voxels") as caught:
        require_same_grid(GRID, moved(0, (4, 6, 3)), subject="case1", tolerance_mm=1e9)
    told = "4 x 6 x {} voxels of 1.5 x 2 x 3 mm, LPI from (10, 20, 30) mm"
    assert the_problem(caught) == Problem(
        "E-GRID",
        "case1",
        f"has {told.format(3)}",
        told.format(2),
        "compare files of one grid",
    )


def test_each_axis_of_the_target_runs_along_one_of_the_source():
    # Slices first and from the feet, rows twice as far apart, columns from one voxel further left.
    target = Grid(
        (2, 4, 3), np.array([[0, -1.5, 0, 8.5], [0, 0, -4, 20], [3, 0, 0, 27], [0, 0, 0, 1.0]])
    )
    i, j, k = axis_maps(GRID, target)
    assert (i.source_axis, j.source_axis, k.source_axis) == (2, 0, 1)
    assert (i.scale, j.scale, k.scale) == pytest.approx((-1, 1, 2))
    assert (i.offset, j.offset, k.offset) == pytest.approx((1, 1, 0))
    assert axis_maps(GRID, GRID) == (AxisMap(0, 1, 0), AxisMap(1, 1, 0), AxisMap(2, 1, 0))


def sheared(by):
    """The grid, its columns leaning over by a share of a slice a column."""
    affine = AFFINE.copy()
    affine[2, 0] += 3 * by
    return Grid(SHAPE, affine)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(sheared(1.1e-3), id="a little over a thousandth"),
        pytest.param(sheared(-1.1e-3), id="likewise, the other way"),
        # Columns and slices both run along the columns most.
        pytest.param(
            Grid(SHAPE, np.array([[1, 0, 2, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])),
            id="two along one",
        ),
    ],
)
def test_grids_that_are_not_aligned_are_refused(target):
    with pytest.raises(GeometryError, match="axes are not parallel") as caught:
        axis_maps(GRID, target)
    assert the_problem(caught) == Problem(
        "E-AXES", "grids", "axes are not parallel", "aligned grids", "resample one first"
    )


def test_grids_that_lean_by_less_than_a_thousandth_of_a_voxel_are_aligned():
    maps = axis_maps(GRID, sheared(9e-4))
    assert [each.source_axis for each in maps] == [0, 1, 2]
