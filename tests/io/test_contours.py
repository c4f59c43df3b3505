"""Contours of masks: positions worked out by hand, and the mask back from filling them."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from medseg.io.contours import closed_contours


def mask_of(drawing):
    """Return the mask (I, J) of a drawing whose lines are rows: j grows downwards."""
    lines = drawing.split()
    return np.array([[letter == "#" for letter in line] for line in lines]).T


def points(contour):
    """Return the points as tuples, the first one of the smallest j and then i."""
    first = np.lexsort(contour.T)[0]
    return [tuple(point) for point in np.roll(contour, -first, 0).tolist()]


def edges(contour):
    return zip(contour, np.roll(contour, -1, 0), strict=True)


def area(contour):
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in edges(contour)) / 2


def windings(contour, shape):
    """How often a contour goes round each pixel's centre, counted along the row of the centre.

    Fails where an edge passes through a centre.
    """
    i, j = np.indices(shape)
    turns = np.zeros(shape, int)
    for a, b in edges(contour):
        cross = (b[0] - a[0]) * (j - a[1]) - (b[1] - a[1]) * (i - a[0])
        near = (np.minimum(a[0], b[0]) <= i) & (i <= np.maximum(a[0], b[0]))
        near &= (np.minimum(a[1], b[1]) <= j) & (j <= np.maximum(a[1], b[1]))
        assert not (near & (cross == 0)).any(), "a centre lies on the contour"
        turns += ((a[1] <= j) & (j < b[1]) & (cross > 0)).astype(int)
        turns -= ((b[1] <= j) & (j < a[1]) & (cross < 0)).astype(int)
    return turns


def crossings(contour):
    """How many pairs of edges cross each other properly, at a point inside both."""
    ends = np.array(list(edges(contour)))

    def side(a, b, c):
        ab, ac = b - a, c - a
        return np.sign(ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0])

    a, b = ends[:, None, 0], ends[:, None, 1]
    c, d = ends[None, :, 0], ends[None, :, 1]
    return int(((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).sum())


def test_a_single_pixel_is_a_diamond_through_the_middles_of_its_sides():
    mask = np.zeros((5, 4), bool)
    mask[3, 1] = True
    (contour,) = closed_contours(mask)
    assert points(contour) == [(3, 0.5), (3.5, 1), (3, 1.5), (2.5, 1)]
    assert area(contour) == 0.5


def test_a_block_keeps_its_corners_cut_and_nothing_between_them():
    (contour,) = closed_contours(mask_of("..... .###. .###. ....."))
    octagon = [(1, 0.5), (3, 0.5), (3.5, 1), (3.5, 2), (3, 2.5), (1, 2.5), (0.5, 2), (0.5, 1)]
    assert points(contour) == octagon
    assert area(contour) == 6 - 4 / 8  # a corner costs an eighth of a pixel


def test_a_mask_at_every_border_is_closed_outside_of_it():
    (contour,) = closed_contours(np.ones((2, 1), bool))
    assert points(contour) == [(0, -0.5), (1, -0.5), (1.5, 0), (1, 0.5), (0, 0.5), (-0.5, 0)]


def test_pixels_that_touch_at_a_corner_have_contours_of_their_own():
    first, second = closed_contours(mask_of("#. .#"))
    assert points(first) == [(0, -0.5), (0.5, 0), (0, 0.5), (-0.5, 0)]
    assert points(second) == [(1, 0.5), (1.5, 1), (1, 1.5), (0.5, 1)]


def test_a_hole_is_reached_by_a_channel_between_two_rows_of_centres():
    (contour,) = closed_contours(mask_of("### #.# ###"))
    outer = [(0, -0.5), (2, -0.5), (2.5, 0), (2.5, 2), (2, 2.5), (0, 2.5), (-0.5, 2)]
    hole = [(1, 0.5), (0.5, 1), (1, 1.5), (1.5, 1), (1, 0.5)]  # the other way round
    channel = [(-0.5, 0.5)]
    assert points(contour) == [*outer, *channel, *hole, *channel, (-0.5, 0)]
    assert area(contour) == 9 - 4 / 8 - 1 / 2


def test_two_holes_side_by_side_are_a_chain():
    (contour,) = closed_contours(mask_of("##### #.#.# #####"))
    left = [(1, 0.5), (0.5, 1), (1, 1.5), (1.5, 1), (1, 0.5)]
    right = [(3, 0.5), (2.5, 1), (3, 1.5), (3.5, 1), (3, 0.5)]
    assert points(contour)[7:20] == [(-0.5, 0.5), *left, *right, (1, 0.5), (-0.5, 0.5)]
    assert crossings(contour) == 0


def test_an_island_in_a_hole_has_a_contour_of_its_own():
    around, island = closed_contours(mask_of("##### #...# #.#.# #...# #####"))
    if len(around) < len(island):
        around, island = island, around
    assert area(island) == 0.5
    assert area(around) == 25 - 4 / 8 - (9 - 4 / 8)


@pytest.mark.parametrize("shape", [(0, 0), (3, 4)])
def test_an_empty_mask_has_no_contours(shape):
    assert closed_contours(np.zeros(shape, bool)) == []


@pytest.mark.parametrize("kind", [np.uint8, np.float32], ids=lambda kind: kind.__name__)
def test_masks_of_other_types_are_taken_as_they_are_meant(kind):
    mask = mask_of(".## .##")
    (contour,) = closed_contours(mask.astype(kind) * 7)
    assert np.array_equal(contour, closed_contours(mask)[0])


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
@example(mask_of("##### #.#.# ##.## #.#.# #####"))  # a hole joined across corners
@example(mask_of("###### #....# #.##.# #.#..# #....# ######"))
@example(mask_of("####### #.#.#.# ####### #..#..# #.##.## #######"))
def test_filled_contours_are_the_mask_however_they_are_counted(mask):
    contours = closed_contours(mask)
    turns = np.array([windings(contour, mask.shape) for contour in contours]).reshape(
        -1, *mask.shape
    )
    assert set(np.unique(turns)) <= {0, 1}  # by winding and by odd and even alike
    assert np.array_equal(turns.sum(0), mask)  # united and by XOR alike
    # A contour to a piece that is connected by sides, as scipy counts.
    assert len(contours) == ndimage.label(mask)[1]


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=9)))
@example(mask_of("####### #.#.#.# #######"))
@example(mask_of("######## #.....## #.###.## #.#.#.## #.###.## #.....## ########"))
def test_contours_never_cross_themselves_and_have_positive_areas(mask):
    for contour in closed_contours(mask):
        assert area(contour) > 0
        assert crossings(contour) == 0
        assert np.array_equal(contour * 2, np.round(contour * 2))


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_no_point_of_a_piece_without_holes_lies_on_a_straight_line(mask):
    for contour in closed_contours(ndimage.binary_fill_holes(mask)):
        before, after = contour - np.roll(contour, 1, 0), np.roll(contour, -1, 0) - contour
        assert (before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] != 0).all()
        assert before.any(1).all()
