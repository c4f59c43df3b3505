"""Overlap: numbers worked out by hand, two other implementations, and the laws."""

import math
import warnings

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.errors import GeometryError
from medseg.geometry import lpi_grid
from medseg.metrics.overlap import OverlapCounts, count_overlap
from medseg.metrics.scores import OrganScore, score_scan
from medseg.metrics.summary import summarise

SHAPE = (3, 4, 5)
GRID = lpi_grid(SHAPE, (1.5, 1.5, 3.0))
DRAWN = lpi_grid((3, 6, 1), (1.5, 1.5, 3.0))
NAN = float("nan")
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
    with pytest.raises(GeometryError, match=r"E-GRID.*\(3, 6, 1\).*\(6, 3, 1\)"):
        count_overlap(PRED, REF.transpose(1, 0, 2))


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


SCANS = st.lists(st.tuples(MASK, MASK), min_size=1, max_size=5)


def scored(pairs):
    return [
        score
        for n, (pred, ref) in enumerate(pairs)
        for score in score_scan(
            pred[None], ref[None], organs=["gut"], scan_id=f"scan{n}", grid=GRID
        )
    ]


def not_better(after, before):
    """Whether a number stayed, fell, or ceased to be; NaN says nothing good."""
    return math.isnan(after) or after <= before + 1e-12


@given(SCANS, st.data())
def test_a_lost_detection_never_improves_a_score(pairs, data):
    present = [n for n, (pred, ref) in enumerate(pairs) if ref.any() and pred.any()]
    if not present:
        return
    before = summarise(scored(pairs)).organs[0]
    lost = data.draw(st.sampled_from(present))
    pairs[lost] = (np.zeros(SHAPE, bool), pairs[lost][1])
    after = summarise(scored(pairs)).organs[0]
    assert after.n == before.n
    assert after.n_penalised == before.n_penalised
    assert not_better(after.penalised["dice"], before.penalised["dice"])
    assert not_better(after.penalised["iou"], before.penalised["iou"])
    assert after.sensitivity < before.sensitivity
    assert after.n_ok == before.n_ok - 1  # so that the found mean says that it is over fewer


@given(SCANS, st.data())
def test_a_scan_left_out_never_improves_a_score(pairs, data):
    before = summarise(scored(pairs)).organs[0]
    left_out = data.draw(st.integers(0, len(pairs) - 1))
    kept = [score for score in scored(pairs) if score.scan_id != f"scan{left_out}"]
    missing = score_scan(
        None, pairs[left_out][1][None], organs=["gut"], scan_id=f"scan{left_out}", grid=GRID
    )
    after = summarise([*kept, *missing]).organs[0]
    assert after.n == before.n
    for name in ("sensitivity", "specificity"):
        assert not_better(getattr(after, name), getattr(before, name))
    if not math.isnan(before.penalised["dice"]):
        assert not_better(after.penalised["dice"], before.penalised["dice"])


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


# --- Scans and summaries ----------------------------------------------------------------------


def test_a_scan_is_scored_organ_by_organ_in_millilitres():
    empty = np.zeros_like(REF)
    scores = score_scan(
        [PRED, empty, PRED, empty],
        [REF, REF, empty, empty],
        organs=["a", "b", "c", "d"],
        scan_id="case1_day0",
        grid=DRAWN,
    )
    ml = 0.00675
    nan = math.nan
    expected = [
        ("case1_day0", "a", "ok", 4 / 14, 2 / 12, 6 * ml, 8 * ml),
        ("case1_day0", "b", "missed", 0.0, 0.0, 0.0, 8 * ml),
        ("case1_day0", "c", "false_positive", 0.0, 0.0, 6 * ml, 0.0),
        ("case1_day0", "d", "both_empty", nan, nan, 0.0, 0.0),
    ]
    for score, row in zip(scores, expected, strict=True):
        assert score[:3] == row[:3]
        measured = score.dice, score.iou, score.volume_pred_ml, score.volume_ref_ml
        assert measured == pytest.approx(row[3:], nan_ok=True)


def test_volumes_do_not_depend_on_handedness():
    grids = (DRAWN, DRAWN.reoriented(("R", "P", "I")))
    volumes = [
        score_scan([PRED], [REF], organs=["a"], scan_id="s", grid=grid)[0].volume_ref_ml
        for grid in grids
    ]
    assert volumes == pytest.approx([8 * 0.00675] * 2)


def test_organs_that_do_not_fit_the_masks_are_refused():
    with pytest.raises(ValueError, match="zip"):
        score_scan([PRED], [REF], organs=["a", "b"], scan_id="s", grid=DRAWN)


def row(status, dice=0.0, *, ref_ml=1.0, organ="gut", scan_id="s"):
    shares = dict.fromkeys(("dice", "iou", "precision", "recall", "nsd"), dice)
    distances = ("hd_mm", "hd95_mm", "assd_mm", "centroid_shift_mm")
    volumes = {"volume_error_ml": 1.0 - ref_ml, "volume_pred_ml": 1.0, "volume_ref_ml": ref_ml}
    shares |= dict.fromkeys(distances, 2.0 if status == "ok" else math.inf)
    return OrganScore(
        scan_id, organ, status, **shares, **volumes, tolerance_mm=3.0, diagonal_mm=10.0
    )


def test_a_summary_says_over_how_many_each_mean_is():
    rows = [
        row("ok", 0.9, scan_id="1"),
        row("ok", 0.7, scan_id="2"),
        row("missed", scan_id="3"),
        row("false_positive", ref_ml=0.0, scan_id="4"),
        row("both_empty", math.nan, ref_ml=0.0, scan_id="5"),
    ]
    summary = summarise(rows)
    organ = summary.organs[0]
    assert summary.n_scans == organ.n == 5
    assert (organ.n_ok, organ.n_missed, organ.n_false_positive, organ.n_both_empty) == (2, 1, 1, 1)
    assert organ.found["dice"] == pytest.approx(0.8)  # over 2
    assert organ.n_penalised == 4
    assert organ.penalised["dice"] == pytest.approx(0.4)  # 1.6 over 4
    assert organ.sensitivity == pytest.approx(2 / 3)
    assert organ.specificity == pytest.approx(1 / 2)


def test_a_summary_keeps_the_order_of_organs_and_never_mixes_them():
    rows = [row("ok", 0.5, organ="z"), row("ok", 0.25, organ="a"), row("missed", organ="z")]
    assert [(o.organ, o.penalised["dice"]) for o in summarise(rows).organs] == [
        ("z", 0.25),
        ("a", 0.25),
    ]


def test_means_over_nothing_are_nan_not_zero_or_one():
    organ = summarise([row("both_empty", math.nan, ref_ml=0.0)]).organs[0]
    assert math.isnan(organ.found["dice"])
    assert math.isnan(organ.penalised["dice"])
    assert math.isnan(organ.sensitivity)
    assert organ.specificity == 1.0
    assert summarise([]) == (0, ())


def test_a_scan_without_prediction_is_missed_for_every_organ():
    scores = score_scan(None, [REF, np.zeros_like(REF)], organs=["a", "b"], scan_id="s", grid=DRAWN)
    assert [(s.status, s.dice, s.volume_ref_ml) for s in scores] == [
        ("missed", 0.0, pytest.approx(8 * 0.00675)),
        ("missed", 0.0, 0.0),
    ]
    assert all(math.isnan(score.volume_pred_ml) for score in scores)
