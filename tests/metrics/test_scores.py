"""Scores of one organ in one scan: pencil and paper, laws, and what an empty mask gives."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.errors import GeometryError
from medseg.geometry import Grid, lpi_grid
from medseg.metrics.overlap import STATUSES
from medseg.metrics.scores import METRICS, OrganScore, diagonal_mm, score_scan

SHAPE = (3, 4, 5)
GRID = lpi_grid(SHAPE, (1.5, 1.25, 3.0))
DRAWN = lpi_grid((3, 6, 1), (1.5, 1.5, 3.0))
MASK = arrays(bool, SHAPE)
EMPTY = np.zeros(SHAPE, bool)
NAMES = {better: [m.name for m in METRICS if m.better == better] for better in ("higher", "lower")}

#   pred      ref       pred 6, ref 8, both 2
#   .XXX..    ......
#   .XXX..    ..XXXX    Dice 4 / 14, IoU 2 / 12, precision 2 / 6, recall 2 / 8
#   ......    ..XXXX
PRED = np.array([[0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]], bool)[..., None]
REF = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]], bool)[..., None]
VOXEL_ML = 1.5 * 1.5 * 3 / 1000


def score(pred, ref, *, grid=GRID, tolerance_mm=3.0):
    """Return the score of one organ; a mask of None is one that is not there."""
    (found,) = score_scan(
        None if pred is None else [pred],
        [ref],
        organs=["gut"],
        scan_id="s",
        grid=grid,
        tolerance_mm=tolerance_mm,
    )
    return found


def box(*corners, shape=SHAPE):
    """Voxels from one corner to the other, both included."""
    mask = np.zeros(shape, bool)
    (i, j, k), (i2, j2, k2) = corners
    mask[i : i2 + 1, j : j2 + 1, k : k2 + 1] = True
    return mask


def numbers(scored, names):
    return [getattr(scored, name) for name in names]


# --- By hand ----------------------------------------------------------------------------------


def test_every_metric_is_a_column_that_tells_its_unit():
    columns = set(OrganScore._fields)
    for metric in METRICS:
        assert metric.name in columns
        assert metric.name.endswith(f"_{metric.unit}" if metric.unit else metric.name)
        assert f"\n        {metric.name}: " in OrganScore.__doc__


def test_a_drawn_pair_has_the_numbers_worked_out_by_hand():
    scored = score(PRED, REF, grid=DRAWN)
    assert scored.status == "ok"
    shares = (4 / 14, 2 / 12, 2 / 6, 2 / 8)
    assert numbers(scored, ("dice", "iou", "precision", "recall")) == pytest.approx(shares)
    # The prediction's centre is row 0.5, column 2; the reference's row 1.5, column 3.5.
    assert scored.centroid_shift_mm == pytest.approx(1.5 * math.hypot(1, 1.5))
    # The corner (0, 1) of the prediction is (1, 1) voxels from (1, 2); the corner (2, 5) of the
    # reference is (1, 2) voxels from (1, 3): nothing lies farther.
    assert scored.hd_mm == pytest.approx(1.5 * math.hypot(1, 2))
    volumes = (scored.volume_error_ml, scored.volume_pred_ml, scored.volume_ref_ml)
    assert volumes == pytest.approx((-2 * VOXEL_ML, 6 * VOXEL_ML, 8 * VOXEL_ML))
    assert scored.diagonal_mm == pytest.approx(math.hypot(3 * 1.5, 6 * 1.5, 3.0))


CUBE = box((0, 0, 0), (1, 1, 1))  # 8 voxels
BAR = box((0, 0, 0), (0, 0, 2))  # 3 voxels
MISSED, ABSENT = ("missed", 0.0, math.inf), ("both_empty", math.nan, math.nan)


@pytest.mark.parametrize(
    ("pred", "ref", "expected", "volumes_vox"),
    [
        pytest.param(EMPTY, CUBE, MISSED, (-8, 0, 8), id="not predicted"),
        pytest.param(None, CUBE, MISSED, (-8, math.nan, 8), id="nothing predicted"),
        pytest.param(None, EMPTY, MISSED, (0, math.nan, 0), id="nothing predicted, nor there"),
        pytest.param(BAR, EMPTY, ("false_positive", 0.0, math.inf), (3, 3, 0), id="invented"),
        pytest.param(EMPTY, EMPTY, ABSENT, (0, 0, 0), id="on neither side"),
    ],
)
def test_where_a_mask_is_empty_every_column_has_its_number(pred, ref, expected, volumes_vox):
    scored = score(pred, ref)
    status, share, distance_mm = expected
    assert scored.status == status
    assert numbers(scored, NAMES["higher"]) == pytest.approx([share] * 5, nan_ok=True)
    assert numbers(scored, NAMES["lower"]) == pytest.approx([distance_mm] * 4, nan_ok=True)
    volumes_ml = numbers(scored, ("volume_error_ml", "volume_pred_ml", "volume_ref_ml"))
    assert volumes_ml == pytest.approx(
        [n * 1.5 * 1.25 * 3 / 1000 for n in volumes_vox], nan_ok=True
    )


@pytest.mark.parametrize(
    ("moved", "shift_mm"),
    [
        pytest.param((1, 0, 0), 1.5, id="a column"),
        pytest.param((0, 2, 0), 2.5, id="two rows"),
        pytest.param((0, 0, 1), 3.0, id="a slice"),
        pytest.param((1, 2, 1), math.sqrt(1.5**2 + 2.5**2 + 3.0**2), id="all three"),
    ],
)
def test_centroids_part_by_millimetres_of_each_axis(moved, shift_mm):
    ref = box((0, 0, 0), (1, 1, 1))
    pred = np.roll(ref, moved, axis=(0, 1, 2))
    assert score(pred, ref).centroid_shift_mm == pytest.approx(shift_mm)


def test_centroids_part_along_oblique_axes_as_the_voxels_do():
    # Columns run along (0.6, 0.8, 0) for 2 mm, rows along (-0.8, 0.6, 0) for 1 mm, slices up.
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = (1.2, 1.6, 0), (-0.8, 0.6, 0), (0, 0, 5)
    affine[:3, 3] = (-70.0, 40.0, 12.0)
    grid = Grid(SHAPE, affine)
    ref = box((0, 0, 0), (0, 0, 0))
    shifts = {(1, 0, 0): 2.0, (0, 3, 0): 3.0, (0, 0, 2): 10.0, (2, 3, 0): 5.0}
    for moved, shift_mm in shifts.items():
        scored = score(np.roll(ref, moved, axis=(0, 1, 2)), ref, grid=grid)
        assert scored.centroid_shift_mm == pytest.approx(shift_mm)
        assert scored.hd_mm == pytest.approx(shift_mm)
        assert scored.volume_ref_ml == pytest.approx(0.01)


def test_a_centroid_is_that_of_the_mass_not_of_the_box():
    ref = box((0, 0, 0), (2, 0, 0))
    pred = ref.copy()
    pred[2, 3, 0] = True  # pulls the centre by (1/4, 3/4) voxels
    expected_mm = math.hypot(1.5 / 4, 1.25 * 3 / 4)
    assert score(pred, ref).centroid_shift_mm == pytest.approx(expected_mm)


def test_surface_dice_takes_the_tolerance_that_it_tells():
    ref = box((0, 0, 0), (0, 0, 0))
    pred = box((0, 0, 1), (0, 0, 1))  # 3 mm up
    found = [score(pred, ref, tolerance_mm=mm) for mm in (2.9, 3.0)]
    assert [(s.nsd, s.tolerance_mm) for s in found] == [(0.0, 2.9), (1.0, 3.0)]


def test_volumes_do_not_depend_on_handedness():
    for codes in (("L", "P", "I"), ("R", "P", "I")):
        scored = score(PRED, REF, grid=DRAWN.reoriented(codes))
        assert scored.volume_ref_ml == pytest.approx(8 * VOXEL_ML)
        assert scored.volume_error_ml == pytest.approx(-2 * VOXEL_ML)


def test_a_scan_is_scored_organ_by_organ():
    empty = np.zeros_like(REF)
    scores = score_scan(
        [PRED, empty, PRED, empty],
        [REF, REF, empty, empty],
        organs=["a", "b", "c", "d"],
        scan_id="case1_day0",
        grid=DRAWN,
    )
    assert [(s.scan_id, s.organ, s.status) for s in scores] == [
        ("case1_day0", "a", "ok"),
        ("case1_day0", "b", "missed"),
        ("case1_day0", "c", "false_positive"),
        ("case1_day0", "d", "both_empty"),
    ]


def test_a_scan_without_prediction_is_missed_for_every_organ():
    scores = score_scan(None, [REF, np.zeros_like(REF)], organs=["a", "b"], scan_id="s", grid=DRAWN)
    assert [s.status for s in scores] == ["missed", "missed"]


def test_masks_may_be_of_numbers():
    whole = score(PRED, REF, grid=DRAWN)
    assert score(7 * PRED.astype(np.uint8), 255 * REF.astype(np.uint8), grid=DRAWN) == whole


def test_organs_that_do_not_fit_the_masks_are_refused():
    with pytest.raises(ValueError, match="zip"):
        score_scan([PRED], [REF], organs=["a", "b"], scan_id="s", grid=DRAWN)


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(GeometryError, match=r"E-GRID.*\(6, 3, 1\).*\(3, 6, 1\)"):
        score(PRED.transpose(1, 0, 2), REF, grid=DRAWN)


# --- Laws -------------------------------------------------------------------------------------


@given(MASK, MASK, st.floats(0.5, 8.0))
def test_all_numbers_stay_in_their_bounds(pred, ref, tolerance_mm):
    scored = score(pred, ref, tolerance_mm=tolerance_mm)
    assert scored.status in STATUSES
    assert scored.diagonal_mm == diagonal_mm(GRID)
    shares, distances = (numbers(scored, NAMES[better]) for better in ("higher", "lower"))
    if scored.status == "ok":
        assert all(0 <= share <= 1 for share in shares)
        assert all(0 <= distance_mm < scored.diagonal_mm for distance_mm in distances)
        assert scored.assd_mm <= scored.hd_mm
        assert scored.hd95_mm <= scored.hd_mm
        assert scored.dice == pytest.approx(2 * scored.iou / (1 + scored.iou))
    error_ml = scored.volume_pred_ml - scored.volume_ref_ml
    assert scored.volume_error_ml == pytest.approx(error_ml, abs=1e-12)


@given(MASK, MASK)
def test_sides_that_change_places_change_precision_and_recall_and_signs(pred, ref):
    here, there = score(pred, ref), score(ref, pred)
    same = [*NAMES["higher"], *NAMES["lower"]]
    swapped = {"precision": "recall", "recall": "precision"}
    expected = [getattr(there, swapped.get(name, name)) for name in same]
    assert numbers(here, same) == pytest.approx(expected, nan_ok=True)
    assert here.volume_error_ml == pytest.approx(-there.volume_error_ml)
    turned = {"missed": "false_positive", "false_positive": "missed"}
    assert here.status == turned.get(there.status, there.status)


@given(MASK)
def test_a_mask_compared_with_itself_is_perfect_or_not_there(mask):
    scored = score(mask, mask)
    if mask.any():
        assert numbers(scored, NAMES["higher"]) == [1.0] * 5
        assert numbers(scored, NAMES["lower"]) == pytest.approx([0.0] * 4)
    assert scored.volume_error_ml == 0.0


@given(arrays(bool, (3, *SHAPE)), arrays(bool, (3, *SHAPE)), st.permutations(range(3)))
def test_organs_in_another_order_keep_their_scores(pred, ref, order):
    names = ["a", "b", "c"]
    straight = score_scan(pred, ref, organs=names, scan_id="s", grid=GRID)
    shuffled = score_scan(
        pred[order], ref[order], organs=[names[n] for n in order], scan_id="s", grid=GRID
    )
    by_name = {s.organ: repr(s) for s in straight}
    assert {s.organ: repr(s) for s in shuffled} == by_name


@given(MASK, MASK, st.permutations(range(3)))
def test_arrays_in_another_order_of_axes_with_their_grid_keep_all_scores(pred, ref, order):
    turned = Grid(tuple(SHAPE[axis] for axis in order), GRID.affine_ras_mm[:, [*order, 3]])
    here = score(pred, ref)
    there = score(pred.transpose(order), ref.transpose(order), grid=turned)
    assert there.status == here.status
    assert there[3:] == pytest.approx(here[3:], nan_ok=True)


@given(MASK, MASK, st.floats(0.1, 10.0))
def test_a_larger_grid_scales_distances_and_volumes_and_no_share(pred, ref, factor):
    scaled = Grid(SHAPE, GRID.affine_ras_mm @ np.diag([factor, factor, factor, 1]))
    here = score(pred, ref, tolerance_mm=2.0)
    there = score(pred, ref, grid=scaled, tolerance_mm=2.0 * factor * (1 + 1e-9))
    lengths = [*NAMES["lower"], "diagonal_mm"]
    expected = [factor * mm for mm in numbers(here, lengths)]
    assert numbers(there, lengths) == pytest.approx(expected, nan_ok=True)
    assert there.volume_error_ml == pytest.approx(factor**3 * here.volume_error_ml)
    shares = ("dice", "iou", "precision", "recall")
    assert numbers(there, shares) == pytest.approx(numbers(here, shares), nan_ok=True)


@given(MASK, MASK)
def test_no_prediction_at_all_scores_no_better_than_any_prediction(pred, ref):
    some, none = score(pred, ref), score(None, ref)
    assert none.status == "missed"
    assert numbers(none, NAMES["higher"]) == [0.0] * 5
    assert numbers(none, NAMES["lower"]) == [math.inf] * 4
    if some.status == "ok":
        assert min(numbers(some, NAMES["higher"])) >= 0.0
        assert max(numbers(some, NAMES["lower"])) < none.diagonal_mm
