"""Surface distances: numbers worked out by hand, the laws, empty masks and odd arrays."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.errors import GeometryError, Problem
from medseg.geometry import lpi_grid
from medseg.metrics.scores import score_scan
from medseg.metrics.surface import SurfaceDistances, surface_distances

SHAPE = (4, 5, 6)
EMPTY = np.zeros(SHAPE, bool)
UNIT_MM = (1.0, 1.0, 1.0)

#   pred      ref
#   .XXX..    ......
#   .XXX..    ..XXXX
#   ......    ..XXXX
PRED = np.array([[0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]], bool)[..., None]
REF = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]], bool)[..., None]


def metrics(pred, ref, spacing_mm=UNIT_MM, *, tolerance_mm=1.5):
    """Return Hausdorff distance, HD95, ASSD and surface Dice."""
    found = surface_distances(pred, ref, spacing_mm=spacing_mm)
    distances_mm = found.hausdorff_mm(), found.hausdorff_mm(95), found.average_mm()
    return np.array([*distances_mm, found.surface_dice(tolerance_mm)])


@st.composite
def masks(draw, shape=SHAPE):
    """A mask with something in it: noise, a few voxels, or a box."""
    kind = draw(st.sampled_from(("noise", "voxels", "box")))
    if kind == "noise":
        mask = draw(arrays(bool, shape))
    else:
        corners = st.tuples(*(st.integers(0, size - 1) for size in shape))
        places = draw(st.lists(corners, min_size=1, max_size=3))
        mask = np.zeros(shape, bool)
        if kind == "box":
            low, high = np.min(places, axis=0), np.max(places, axis=0) + 1
            mask[tuple(slice(*side) for side in zip(low, high, strict=True))] = True
        else:
            mask[tuple(np.transpose(places))] = True
    assume(mask.any())
    return mask


SPACINGS = st.tuples(*[st.sampled_from((0.7, 1.0, 1.5, 3.0, 10.0))] * 3)


# --- By hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spacing_mm", "pred_to_ref", "ref_to_pred"),
    [
        pytest.param(
            (1, 1, 7),
            [0, 0, 1, 1, 1, 2**0.5],
            [0, 0, 1, 1, 1, 2**0.5, 2, 5**0.5],
            id="square pixels",
        ),
        pytest.param(
            (2, 1, 7),
            [0, 0, 1, 2, 2, 5**0.5],
            [0, 0, 1, 2, 2, 2, 5**0.5, 8**0.5],
            id="rows twice as far apart",
        ),
    ],
)
def test_a_drawn_pair_has_the_distances_measured_with_a_ruler(spacing_mm, pred_to_ref, ref_to_pred):
    found = surface_distances(PRED, REF, spacing_mm=spacing_mm)
    assert np.sort(found.pred_to_ref_mm) == pytest.approx(pred_to_ref)
    assert np.sort(found.ref_to_pred_mm) == pytest.approx(ref_to_pred)


def test_metrics_are_read_off_both_lists():
    found = surface_distances(PRED, REF, spacing_mm=UNIT_MM)
    assert found.hausdorff_mm() == pytest.approx(5**0.5)
    # Of the 8 sorted distances from the reference place 0.95 x 7 = 6.65, between 2 and sqrt 5.
    assert found.hausdorff_mm(95) == pytest.approx(2 + 0.65 * (5**0.5 - 2))
    assert found.hausdorff_mm(0) == 0
    assert found.average_mm() == pytest.approx((8 + 2 * 2**0.5 + 5**0.5) / 14)
    assert found.surface_dice(1) == pytest.approx(10 / 14)
    assert found.surface_dice(0.99) == pytest.approx(4 / 14)


def test_the_larger_direction_counts_whichever_it_is():
    distances = SurfaceDistances(np.array([1.0, 9.0]), np.array([2.0]))
    for pair in (distances, SurfaceDistances(*distances[::-1])):
        assert pair.hausdorff_mm() == 9
        assert pair.hausdorff_mm(50) == 5
        assert pair.average_mm() == 4
        assert pair.surface_dice(2) == pytest.approx(2 / 3)


def test_a_voxel_with_no_more_than_an_edge_outside_is_no_boundary():
    solid = np.ones((5, 5, 5), bool)
    hollow = solid.copy()
    hollow[2, 2, 2] = False
    # The cavity adds the six voxels that share a face with it; they lie one step below the outside.
    found = surface_distances(hollow, solid, spacing_mm=UNIT_MM)
    assert np.sort(found.pred_to_ref_mm).tolist() == [0.0] * 98 + [1.0] * 6
    assert found.ref_to_pred_mm.tolist() == [0.0] * 98


def test_the_edge_of_the_array_is_a_boundary():
    full, core = np.ones((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    core[1:-1, 1:-1, 1:-1] = True
    found = surface_distances(core, full, spacing_mm=UNIT_MM)
    assert found.pred_to_ref_mm.tolist() == [1.0] * 26
    outer = [1.0] * 54 + [2**0.5] * 36 + [3**0.5] * 8  # faces, edges, corners
    assert np.sort(found.ref_to_pred_mm) == pytest.approx(outer)


def test_rounding_puts_nothing_beyond_a_tolerance():
    ends = np.zeros((4, 1, 1), bool), np.zeros((4, 1, 1), bool)
    ends[0][0] = ends[1][3] = True
    found = surface_distances(*ends, spacing_mm=(1.1, 1.0, 1.0))
    assert found.hausdorff_mm() > 3.3  # 3.3000000000000003
    assert found.surface_dice(3.3) == 1
    assert found.surface_dice(3.2999) == 0


def test_transposed_spacing_gives_another_result():
    ref = np.zeros((6, 6, 6), bool)
    ref[2:4, 2:4, 1:3] = True
    pred = np.roll(ref, 1, axis=2)
    assert metrics(pred, ref, (1.5, 1.5, 3.0))[0] == 3.0
    assert metrics(pred, ref, (3.0, 1.5, 1.5))[0] == 1.5


# --- Empty masks and wrong input --------------------------------------------------------------


@pytest.mark.parametrize(
    "pair",
    [pytest.param((EMPTY, ~EMPTY), id="missed"), pytest.param((~EMPTY, EMPTY), id="made up")],
)
def test_one_empty_mask_is_as_wrong_as_can_be(pair):
    assert metrics(*pair).tolist() == [math.inf, math.inf, math.inf, 0.0]
    found = surface_distances(*pair, spacing_mm=UNIT_MM)
    n_boundary = 4 * 5 * 6 - 2 * 3 * 4
    assert sorted(each.size for each in found) == [0, n_boundary]


def test_two_empty_masks_have_no_distances():
    found = surface_distances(EMPTY, EMPTY, spacing_mm=UNIT_MM)
    assert [each.size for each in found] == [0, 0]
    assert np.isnan(metrics(EMPTY, EMPTY)).all()
    nothing = np.zeros((0, 0, 0), bool)
    assert np.isnan(metrics(nothing, nothing)).all()


@pytest.mark.parametrize(
    ("pred", "ref", "found", "expected"),
    [
        pytest.param(EMPTY, EMPTY.T, "shape (4, 5, 6)", "(6, 5, 4)", id="two shapes"),
        pytest.param(EMPTY[0], EMPTY[0], "shape (5, 6)", "(5, 6)", id="a slice"),
    ],
)
def test_what_is_no_pair_of_volumes_is_refused(pred, ref, found, expected):
    with pytest.raises(GeometryError, match="E-GRID") as caught:
        surface_distances(pred, ref, spacing_mm=UNIT_MM)
    assert caught.value.problems == (Problem("E-GRID", "masks", found, expected),)


@pytest.mark.parametrize(
    "spacing_mm",
    [
        pytest.param((1.5, 1.5), id="two"),
        pytest.param((1.5, 0, 3), id="zero"),
        pytest.param((1.5, -1, 3), id="negative"),
        pytest.param((1.5, math.nan, 3), id="not a number"),
    ],
)
def test_what_is_no_spacing_is_refused(spacing_mm):
    with pytest.raises(GeometryError, match="E-SPACING") as caught:
        surface_distances(EMPTY, EMPTY, spacing_mm=spacing_mm)
    expected = Problem("E-SPACING", "masks", f"{spacing_mm} mm", "three lengths")
    assert caught.value.problems == (expected,)


# --- Laws -------------------------------------------------------------------------------------


@given(masks(), masks(), SPACINGS)
def test_it_does_not_matter_which_mask_comes_first(a, b, spacing_mm):
    here = surface_distances(a, b, spacing_mm=spacing_mm)
    there = surface_distances(b, a, spacing_mm=spacing_mm)
    assert np.array_equal(np.sort(here.pred_to_ref_mm), np.sort(there.ref_to_pred_mm))
    assert metrics(a, b, spacing_mm) == pytest.approx(metrics(b, a, spacing_mm))


@given(masks(), SPACINGS)
def test_a_mask_is_no_distance_from_itself(mask, spacing_mm):
    assert metrics(mask, mask, spacing_mm).tolist() == [0, 0, 0, 1]


@given(masks(), masks(), SPACINGS)
def test_metrics_keep_their_bounds(a, b, spacing_mm):
    hd_mm, hd95_mm, assd_mm, nsd = metrics(a, b, spacing_mm)
    assert 0 <= assd_mm <= hd_mm + 1e-12
    assert 0 <= hd95_mm <= hd_mm <= np.linalg.norm(np.multiply(np.array(SHAPE) - 1, spacing_mm))
    assert 0 <= nsd <= 1
    assert (hd_mm <= 1.5) == (nsd == 1)


@given(masks(), masks(), masks(), SPACINGS)
def test_no_way_is_shorter_than_the_direct_one(a, b, c, spacing_mm):
    direct, first, second = (metrics(*pair, spacing_mm)[0] for pair in ((a, c), (a, b), (b, c)))
    assert direct <= first + second + 1e-9


@given(masks(), masks(), SPACINGS, st.tuples(*[st.tuples(*[st.integers(0, 3)] * 2)] * 3))
def test_empty_space_around_changes_nothing(a, b, spacing_mm, margins):
    padded = metrics(np.pad(a, margins), np.pad(b, margins), spacing_mm)
    assert padded == pytest.approx(metrics(a, b, spacing_mm))


@given(masks(), masks(), SPACINGS, st.permutations(range(3)))
def test_axes_may_be_permuted_with_their_spacing(a, b, spacing_mm, axes):
    permuted = [spacing_mm[axis] for axis in axes]
    turned = metrics(a.transpose(axes), b.transpose(axes), permuted)
    assert turned == pytest.approx(metrics(a, b, spacing_mm))
    copied = metrics(a.transpose(axes).copy(), b.transpose(axes).copy(), permuted)
    assert copied == pytest.approx(metrics(a, b, spacing_mm))


@given(masks(), masks(), SPACINGS, st.sampled_from([0, 1, 2, (0, 1), (1, 2), (0, 1, 2)]))
def test_flips_and_shifts_change_nothing(a, b, spacing_mm, axes):
    expected = pytest.approx(metrics(a, b, spacing_mm))
    assert metrics(np.flip(a, axes), np.flip(b, axes), spacing_mm) == expected
    wide = [np.pad(mask, 3) for mask in (a, b)]
    shift = tuple(np.atleast_1d(axes))
    moved = [np.roll(mask, (-3, 2, 1)[: len(shift)], shift) for mask in wide]
    assert metrics(*moved, spacing_mm) == expected


@given(masks(), masks(), SPACINGS, st.sampled_from((0.1, 0.5, 2.0, 7.0)))
def test_distances_grow_with_the_spacing(a, b, spacing_mm, factor):
    scaled = [factor * length for length in spacing_mm]
    expected = metrics(a, b, spacing_mm) * [factor, factor, factor, 1]
    assert metrics(a, b, scaled, tolerance_mm=1.5 * factor) == pytest.approx(expected)


@given(masks(), masks(), SPACINGS, st.lists(st.floats(0, 50), min_size=2, max_size=6))
def test_surface_dice_grows_with_the_tolerance(a, b, spacing_mm, tolerances_mm):
    found = surface_distances(a, b, spacing_mm=spacing_mm)
    shares = [found.surface_dice(tolerance_mm) for tolerance_mm in sorted(tolerances_mm)]
    assert shares == sorted(shares)
    assert found.surface_dice(found.hausdorff_mm()) == 1


@given(masks(), masks(), SPACINGS, st.lists(st.floats(0, 100), min_size=2, max_size=6))
def test_the_hausdorff_distance_grows_with_the_percentile(a, b, spacing_mm, percentiles):
    found = surface_distances(a, b, spacing_mm=spacing_mm)
    distances_mm = np.array([found.hausdorff_mm(each) for each in sorted(percentiles)])
    assert (np.diff(distances_mm) >= -1e-12).all()


@given(st.lists(st.tuples(masks(), masks()), min_size=1, max_size=3))
def test_organs_scored_together_are_scored_as_each_alone(pairs):
    grid = lpi_grid(SHAPE, (1.5, 1.5, 3.0))
    names = [f"organ{n}" for n in range(len(pairs))]
    preds, refs = (np.stack(each) for each in zip(*pairs, strict=True))
    together = score_scan(preds, refs, organs=names, scan_id="s", grid=grid)
    alone = [
        score_scan(pred[None], ref[None], organs=[name], scan_id="s", grid=grid)[0]
        for name, (pred, ref) in zip(names, pairs, strict=True)
    ]
    assert together == alone


# --- Arrays of every kind ---------------------------------------------------------------------


def each_other_voxel(mask):
    wide = np.ones(np.multiply(mask.shape, 2), bool)
    wide[::2, ::2, ::2] = mask
    return wide[::2, ::2, ::2]


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(np.asfortranarray, id="in Fortran's order"),
        pytest.param(each_other_voxel, id="every other voxel"),
        pytest.param(lambda mask: mask[::-1].copy()[::-1], id="backwards"),
        pytest.param(lambda mask: np.stack([~mask, mask], axis=-1)[..., 1], id="channels last"),
        pytest.param(lambda mask: mask.astype(np.uint8), id="bytes"),
        pytest.param(lambda mask: 255 * mask.astype(np.uint8), id="bytes of 255"),
        pytest.param(lambda mask: 2 * mask.astype(np.int16), id="integers"),
        pytest.param(lambda mask: np.frombuffer(mask.tobytes(), bool).reshape(SHAPE), id="locked"),
    ],
)
def test_the_form_of_an_array_does_not_matter(form):
    pred, ref = np.random.default_rng(3).random((2, *SHAPE)) < 0.2
    expected = metrics(pred, ref, (1.5, 2.5, 3.0)).tolist()
    assert metrics(form(pred), ref, (1.5, 2.5, 3.0)) == pytest.approx(expected)
    assert metrics(pred, form(ref), (1.5, 2.5, 3.0)) == pytest.approx(expected)
    assert metrics(form(pred), form(ref), (1.5, 2.5, 3.0)) == pytest.approx(expected)


def test_masks_are_left_as_they_were():
    pred, ref = (np.ones((3, 3, 3), np.uint8) * n for n in (1, 2))
    surface_distances(pred, ref, spacing_mm=UNIT_MM)
    assert (pred == 1).all()
    assert (ref == 2).all()


@pytest.mark.parametrize("axis", [pytest.param(axis, id=f"axis {axis}") for axis in range(3)])
def test_a_single_slice_is_measured_within_its_plane(axis):
    pred, ref = (np.moveaxis(mask, 2, axis) for mask in (PRED, REF))
    assert pred.shape[axis] == 1
    assert metrics(pred, ref)[0] == pytest.approx(5**0.5)


def test_two_voxels_at_the_far_corners_of_a_large_array():
    shape = (150, 160, 170)
    pred, ref = np.zeros(shape, bool), np.zeros(shape, bool)
    pred[0, 0, 0] = ref[-1, -1, -1] = True
    diagonal_mm = math.hypot(149 * 1.5, 159 * 1.5, 169 * 3.0)
    assert metrics(pred, ref, (1.5, 1.5, 3.0)).tolist() == pytest.approx([diagonal_mm] * 3 + [0])


def test_memory_is_for_the_box_of_the_masks_not_for_the_array():
    pred = np.zeros((200, 200, 200), bool)
    pred[90:110, 90:110, 90:110] = True
    ref = np.roll(pred, 4, axis=0)
    surface_distances(pred, ref, spacing_mm=UNIT_MM)
    tracemalloc.start()
    found = surface_distances(pred, ref, spacing_mm=UNIT_MM)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    lists = sum(each.nbytes for each in found)
    rows_of_array, voxels_of_box = 3 * 200 * 200, 24 * 20 * 20
    assert peak < lists + rows_of_array + 8 * voxels_of_box + 50_000
